# Production. Replace account, address and repository by yours; best an account of its own.
environment            = "prod"
account_id             = "210987654321"
region                 = "eu-central-1"
terraform_state_bucket = "smartsensor-terraform-210987654321"
throw_away             = false

api = {
  url          = "https://api.smartsensor.example/v1"
  rate_per_s   = 10
  history_days = 3
}

# An engine of "spark" lets extract read on all workers, with one rate for all: where one machine does not keep up (runbook).
jobs = {
  check   = { worker_type = "G.1X", workers = 2, timeout_minutes = 15, at_once = 1, engine = "duckdb" }
  extract = { worker_type = "G.1X", workers = 2, timeout_minutes = 120, at_once = 3, engine = "duckdb" }
  promote = { worker_type = "G.1X", workers = 4, timeout_minutes = 120, at_once = 3, engine = "spark" }
}

# Small resources share a lane, since each job costs a minute at least.
lanes = {
  master       = ["organizations", "plants", "assets", "sensors", "measurement-types", "condition-indexes"]
  measurements = ["measurements"]
  events       = ["events"]
}

# Each hour, at a time that is not everybody's.
schedules = {
  hourly = { expression = "cron(12 * * * ? *)", time_zone = "UTC", window_minutes = 5, enabled = true }
}

limits = {
  hours_without_success = 3
  refused_per_hour      = 300
  quarantine_share      = 0.01
  lag_minutes           = 180
  held_age_hours        = 24
}

emails     = []
budget_usd = 600

retention_days = { raw = 730, runs = 180, docs = 365, queries = 14, logs = 90 }

github = {
  repository        = "example/smartsensor"
  oidc_provider_arn = "arn:aws:iam::210987654321:oidc-provider/token.actions.githubusercontent.com"
}
