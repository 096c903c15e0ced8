variable "name" {
  description = "Prefix of all names: project and environment."
  type        = string
}

variable "role_arn" {
  description = "Role that the state machine runs as, from the module iam."
  type        = string
}

variable "job_names" {
  description = "Name of the Glue job of each step: check, extract, promote."
  type        = map(string)
}

variable "job_timeout_minutes" {
  description = "Minutes after which Glue stops a job, by step; the state machine waits a little longer."
  type        = map(number)
}

variable "state_bucket" {
  description = "Bucket that holds runs/: the check's record is read from it."
  type        = string
}

variable "topic_arn" {
  description = "Topic that is told of failures."
  type        = string
}

variable "lanes" {
  description = "Resources that go through extract and promote together, lane by lane. Small ones share a lane, since Glue bills a minute at least."
  type        = map(list(string))
}

variable "lanes_at_once" {
  description = "Lanes that run at the same time."
  type        = number
}

variable "kms_key_arn" {
  description = "Key of the log group and of the state machine's history."
  type        = string
}

variable "log_retention_days" {
  description = "Days that the state machine's log is kept."
  type        = number
}

variable "tracing" {
  description = "Whether X-Ray traces each execution."
  type        = bool
  default     = false
}
