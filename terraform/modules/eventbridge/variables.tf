variable "name" {
  description = "Prefix of all names: project and environment."
  type        = string
}

variable "role_arn" {
  description = "Role that schedules start the state machine with, from the module iam."
  type        = string
}

variable "state_machine_arn" {
  description = "What the schedules start."
  type        = string
}

variable "topic_arn" {
  description = "Topic that is told of jobs that failed."
  type        = string
}

variable "schedules" {
  description = "When runs start: expression (cron or rate), time zone, minutes by which a start may be late, and whether it is on."
  type = map(object({
    expression     = string
    time_zone      = string
    window_minutes = number
    enabled        = bool
  }))

  validation {
    condition     = alltrue([for one in var.schedules : one.window_minutes >= 1 && one.window_minutes <= 1440])
    error_message = "A flexible window has 1 to 1440 minutes."
  }
}

variable "kms_key_arn" {
  description = "Key of schedules and of the queue."
  type        = string
}

variable "queue_policy" {
  description = "Policy of the queue of undelivered events, JSON, from the module iam."
  type        = string
}
