variable "name" {
  description = "Prefix of all names: project and environment."
  type        = string
}

variable "database" {
  description = "Database of the catalog; the module iam grants the jobs their rights on this name."
  type        = string
}

variable "role_arns" {
  description = "Role of each job: check, extract, promote; and of the optimizer; from the module iam."
  type        = map(string)
}

variable "bucket_names" {
  description = "Name of the bucket of each zone."
  type        = map(string)
}

variable "kms_key_arn" {
  description = "Key of logs, credentials and what Glue writes by itself."
  type        = string
}

variable "release" {
  description = "Release that the jobs run: the folder below releases/ in the artifacts bucket."
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

variable "project" {
  description = "What a project brings that has smartsensor as an installed dependency; {} is smartsensor's own source. Paths are below the release: source is a notebook, or module:NAME of a wheel in the zip of wheels. raw_tables is a file here, like tables.json."
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
  description = "Iceberg tables that AWS compacts and cleans. Only tables that are there: the first promotion makes them, then the deployment workflow names them."
  type        = list(string)
  default     = []
}

variable "query_limit_gb" {
  description = "Gigabytes that one query of the Athena workgroup may scan; a query beyond is cancelled."
  type        = number
  default     = 100
}

variable "held_age_hours" {
  description = "Hours after which a window that the gate holds is overdue; the same as the alarm's."
  type        = number
}

variable "log_retention_days" {
  description = "Days that logs of jobs are kept."
  type        = number
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
