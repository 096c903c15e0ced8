# Development: a throw-away lake beside a small schedule. Replace account, address and repository by yours.
environment            = "dev"
account_id             = "123456789012"
region                 = "eu-central-1"
terraform_state_bucket = "smartsensor-terraform-123456789012"
throw_away             = true

api = {
  url          = "https://api.smartsensor.example/v1"
  rate_per_s   = 10
  history_days = 3
}

# An engine of "spark" lets extract read on all workers, with one rate for all: where one machine does not keep up (runbook).
jobs = {
  check   = { worker_type = "G.1X", workers = 2, timeout_minutes = 15, at_once = 1, engine = "duckdb" }
  extract = { worker_type = "G.1X", workers = 2, timeout_minutes = 60, at_once = 2, engine = "duckdb" }
  promote = { worker_type = "G.1X", workers = 2, timeout_minutes = 60, at_once = 2, engine = "spark" }
}

# Small resources share a lane, since each job costs a minute at least.
lanes = {
  master       = ["organizations", "plants", "assets", "sensors", "measurement-types", "condition-indexes"]
  measurements = ["measurements"]
  events       = ["events"]
}

# Paused: dev runs when somebody starts it. Set enabled to let it run by itself.
schedules = {
  daily = { expression = "cron(30 5 * * ? *)", time_zone = "Europe/Berlin", window_minutes = 15, enabled = false }
}

limits = {
  hours_without_success = 24
  refused_per_hour      = 100
  quarantine_share      = 0.02
  lag_minutes           = 2880
  held_age_hours        = 48
}

emails     = []
budget_usd = 50

retention_days = { raw = 90, runs = 30, docs = 90, queries = 7, logs = 30 }

github = {
  repository        = "example/smartsensor"
  oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
}
