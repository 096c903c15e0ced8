variable "name" {
  description = "Prefix of all names: project and environment."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the topic."
  type        = string
}

variable "topic_policy" {
  description = "Policy of the topic, JSON, from the module iam."
  type        = string
}

variable "emails" {
  description = "Who is told: each address confirms its subscription once."
  type        = list(string)
}

variable "job_log_group" {
  description = "Log group of what jobs print, from the module glue."
  type        = string
}

variable "state_machine_arn" {
  description = "The state machine that is watched."
  type        = string
}

variable "queue_name" {
  description = "Queue of undelivered starts, from the module eventbridge."
  type        = string
}

variable "limits" {
  description = "When an alarm rings: hours without a run that succeeded, refused requests (429) an hour, share of rows in quarantine (0 to 1), minutes that a watermark may lag, hours that a held window may wait for a decision."
  type = object({
    hours_without_success = number
    refused_per_hour      = number
    quarantine_share      = number
    lag_minutes           = number
    held_age_hours        = optional(number, 24)
  })

  validation {
    condition     = var.limits.hours_without_success >= 1 && var.limits.hours_without_success <= 24
    error_message = "hours_without_success must be 1 to 24: an alarm looks back a day at most."
  }
}

variable "budget_usd" {
  description = "US dollars a month for all that bears this project's tag; told at 80 % and when the forecast is above."
  type        = number
}
