locals {
  release = "s3://${var.bucket_names.artifacts}/releases/${var.release}"

  # A job copies a notebook that declares a source from the release; module:NAME it imports from what is installed.
  source    = var.project.source == "" || strcontains(var.project.source, ":") ? var.project.source : "${local.release}/${var.project.source}"
  notebooks = "${local.release}/${var.project.notebooks}"

  # What the lake's root becomes for each zone: raw > …-raw-…, state and runs > …-state-…
  lake = "s3://${replace(var.bucket_names.raw, "-raw-", "-{zone}-")}"
}

# The credentials' place. Their value is put in by a person (runbook): it never comes near Terraform's state.
resource "aws_secretsmanager_secret" "api" {
  # checkov:skip=CKV2_AWS_57:The API's owner issues credentials by hand; the runbook says how they are rotated.
  name                    = "${var.name}/api"
  description             = "Credentials of the API, JSON: client_id and client_secret."
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 7
}

resource "aws_cloudwatch_log_group" "jobs" {
  # checkov:skip=CKV_AWS_338:Executed notebooks are kept in the lake; logs are for the weeks in which somebody asks.
  for_each = toset(["output", "error"])

  name              = "/smartsensor/${var.name}/jobs/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_glue_security_configuration" "this" {
  # checkov:skip=CKV_AWS_99:Log groups are encrypted by themselves; Glue's own log encryption renames them, and filters would miss them.
  name = var.name

  encryption_configuration {
    cloudwatch_encryption {
      cloudwatch_encryption_mode = "DISABLED"
    }

    job_bookmarks_encryption {
      job_bookmarks_encryption_mode = "DISABLED" # bookmarks are not used: the ledger is the state
    }

    s3_encryption {
      kms_key_arn        = var.kms_key_arn
      s3_encryption_mode = "SSE-KMS"
    }
  }
}

resource "aws_glue_connection" "network" {
  count = var.vpc == null ? 0 : 1

  name            = "${var.name}-network"
  connection_type = "NETWORK"

  physical_connection_requirements {
    availability_zone      = var.vpc.availability_zone
    security_group_id_list = var.vpc.security_group_ids
    subnet_id              = var.vpc.subnet_id
  }
}

resource "aws_glue_job" "this" {
  for_each = var.jobs

  name                      = "${var.name}-${each.key}"
  description               = "Runs ${var.project.notebooks}/${each.key}.ipynb."
  role_arn                  = var.role_arns[each.key]
  glue_version              = "5.1"
  worker_type               = each.value.worker_type
  number_of_workers         = each.value.workers
  timeout                   = each.value.timeout_minutes
  max_retries               = 0     # the state machine retries, and only what a retry mends
  job_run_queuing_enabled   = false # a job that waits in Glue's queue is late without a sign
  security_configuration    = aws_glue_security_configuration.this.name
  connections               = aws_glue_connection.network[*].name
  execution_class           = "STANDARD"
  non_overridable_arguments = {}

  command {
    name            = "glueetl"
    python_version  = "3"
    script_location = "${local.notebooks}/job.py"
  }

  execution_property {
    max_concurrent_runs = each.value.at_once
  }

  # No --datalake-formats: engines write plain Parquet, and pyiceberg commits it, here as on any machine.
  default_arguments = merge(local.source == "" ? {} : { "--SMARTSENSOR_SOURCE" = local.source }, {
    "--notebook"                        = "${local.notebooks}/${each.key}.ipynb"
    "--expectations"                    = "${local.release}/${var.project.expectations}/"
    "--time_limit_s"                    = tostring(each.value.timeout_minutes * 60 - 120) # ends itself first, and keeps its record
    "--SMARTSENSOR_LAKE"                = local.lake
    "--SMARTSENSOR_ENVIRONMENT"         = var.name
    "--SMARTSENSOR_DATABASE"            = aws_glue_catalog_database.this.name # of the Iceberg tables
    "--SMARTSENSOR_ENGINE"              = each.value.engine
    "--SMARTSENSOR_API_URL"             = var.api.url
    "--SMARTSENSOR_API_SECRET"          = aws_secretsmanager_secret.api.arn
    "--SMARTSENSOR_RATE_PER_S"          = tostring(var.api.rate_per_s) # of all jobs together: they share it by notes in the lake
    "--SMARTSENSOR_HISTORY_DAYS"        = tostring(var.api.history_days)
    "--SMARTSENSOR_HELD_HOURS"          = tostring(var.held_age_hours)             # the alarm's own limit, said in records and pages too
    "--additional-python-modules"       = "${local.release}/${var.project.wheels}" # a zip of wheels, as Glue 5 takes it
    "--python-modules-installer-option" = "--no-index"                             # a package index is not asked
    "--enable-metrics"                  = "true"
    "--enable-observability-metrics"    = "true"
    "--enable-spark-ui"                 = "true"
    "--spark-event-logs-path"           = "s3://${var.bucket_names.state}/spark/${each.key}/"
    "--custom-logGroup-prefix"          = "/smartsensor/${var.name}/jobs"
    "--job-bookmark-option"             = "job-bookmark-disable"
    "--conf"                            = "spark.sql.session.timeZone=UTC"
  })

  depends_on = [aws_cloudwatch_log_group.jobs] # else Glue makes them, without key and without end
}
