locals {
  name         = "smartsensor-${var.environment}"
  database     = replace(local.name, "-", "_")
  bucket_names = { for zone in ["raw", "qualified", "state", "artifacts", "docs"] : zone => "${local.name}-${zone}-${var.account_id}" }
}

module "iam" {
  source = "../../modules/iam"

  name             = local.name
  account_id       = var.account_id
  region           = var.region
  bucket_names     = local.bucket_names
  database         = local.database
  github           = var.github == null ? null : merge(var.github, { environment = var.environment })
  state_bucket_arn = "arn:aws:s3:::${var.terraform_state_bucket}"
  vpc              = var.vpc != null
}

module "s3" {
  source = "../../modules/s3"

  bucket_names    = local.bucket_names
  bucket_policies = module.iam.bucket_policies
  kms_key_arn     = module.iam.kms_key_arn
  retention_days  = var.retention_days
  force_destroy   = var.throw_away
}

module "glue" {
  source = "../../modules/glue"

  name               = local.name
  database           = local.database
  role_arns          = module.iam.role_arns
  bucket_names       = module.s3.bucket_names
  kms_key_arn        = module.iam.kms_key_arn
  release            = var.release
  api                = var.api
  project            = var.project
  jobs               = var.jobs
  optimized_tables   = var.optimized_tables
  query_limit_gb     = var.query_limit_gb
  held_age_hours     = var.limits.held_age_hours
  log_retention_days = var.retention_days.logs
  vpc                = var.vpc
}

module "stepfunctions" {
  source = "../../modules/stepfunctions"

  name                = local.name
  role_arn            = module.iam.role_arns["machine"]
  job_names           = module.glue.job_names
  job_timeout_minutes = { for job, size in var.jobs : job => size.timeout_minutes }
  state_bucket        = module.s3.bucket_names["state"]
  topic_arn           = module.monitoring.topic_arn
  lanes               = var.lanes
  lanes_at_once       = var.jobs["extract"].at_once
  kms_key_arn         = module.iam.kms_key_arn
  log_retention_days  = var.retention_days.logs
}

module "eventbridge" {
  source = "../../modules/eventbridge"

  name              = local.name
  role_arn          = module.iam.role_arns["scheduler"]
  state_machine_arn = module.stepfunctions.state_machine_arn
  topic_arn         = module.monitoring.topic_arn
  schedules         = var.schedules
  kms_key_arn       = module.iam.kms_key_arn
  queue_policy      = module.iam.queue_policy
}

module "monitoring" {
  source = "../../modules/monitoring"

  name              = local.name
  kms_key_arn       = module.iam.kms_key_arn
  topic_policy      = module.iam.topic_policy
  emails            = var.emails
  job_log_group     = module.glue.output_log_group
  state_machine_arn = module.stepfunctions.state_machine_arn
  queue_name        = module.eventbridge.queue_name
  limits            = var.limits
  budget_usd        = var.budget_usd
}
