variable "environment" {
  description = "Name of the environment."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,7}$", var.environment))
    error_message = "An environment's name has 2 to 8 small letters and digits: it is part of bucket names."
  }
}

variable "account_id" {
  description = "AWS account, twelve digits."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account id has twelve digits."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "terraform_state_bucket" {
  description = "Bucket of Terraform's own state; the same as in backend.hcl."
  type        = string
}

variable "api" {
  description = "The API: address, requests a second for all jobs together, days that the first run goes back."
  type = object({
    url          = string
    rate_per_s   = number
    history_days = number
  })
}

variable "release" {
  description = "Release that the jobs run; the deployment workflow sets it to the commit."
  type        = string
  default     = "initial"
}

variable "project" {
  description = "What a project brings that has smartsensor as an installed dependency; {} is smartsensor's own source (the module glue says what each is)."
  type = object({
    source       = optional(string, "")
    wheels       = optional(string, "smartsensor.gluewheels.zip")
    notebooks    = optional(string, "glue_notebooks")
    expectations = optional(string, "expectations")
    raw_tables   = optional(string)
  })
  default = {}
}

variable "jobs" {
  description = "Size of each job: check, extract, promote."
  type = map(object({
    worker_type     = string
    workers         = number
    timeout_minutes = number
    at_once         = number
    engine          = string
  }))
}

variable "optimized_tables" {
  description = "Iceberg tables that AWS compacts and cleans; the deployment workflow names those that are there."
  type        = list(string)
  default     = []
}

variable "query_limit_gb" {
  description = "Gigabytes that one query of Athena may scan."
  type        = number
  default     = 100
}

variable "lanes" {
  description = "Resources that go through extract and promote together."
  type        = map(list(string))
}

variable "schedules" {
  description = "When runs start."
  type = map(object({
    expression     = string
    time_zone      = string
    window_minutes = number
    enabled        = bool
  }))
}

variable "limits" {
  description = "When alarms ring."
  type = object({
    hours_without_success = number
    refused_per_hour      = number
    quarantine_share      = number
    lag_minutes           = number
    held_age_hours        = optional(number, 24)
  })
}

variable "emails" {
  description = "Who is told."
  type        = list(string)
}

variable "budget_usd" {
  description = "US dollars a month."
  type        = number
}

variable "retention_days" {
  description = "Days after which objects expire, by kind, and logs."
  type = object({
    raw     = number
    runs    = number
    docs    = number
    queries = number
    logs    = number
  })
}

variable "throw_away" {
  description = "Whether destroy may remove buckets that still hold data."
  type        = bool
  default     = false
}

variable "github" {
  description = "Who may deploy: repository (OWNER/NAME) and the account's OIDC provider for GitHub Actions; null where nobody may."
  type = object({
    repository        = string
    oidc_provider_arn = string
  })
  default = null
}

variable "vpc" {
  description = "Subnet that the jobs run in; null for Glue's own network."
  type = object({
    subnet_id          = string
    availability_zone  = string
    security_group_ids = list(string)
  })
  default = null
}
