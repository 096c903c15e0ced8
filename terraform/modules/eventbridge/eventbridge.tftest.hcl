mock_provider "aws" {}

variables {
  name              = "smartsensor-dev"
  role_arn          = "arn:aws:iam::123456789012:role/scheduler"
  state_machine_arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:x"
  topic_arn         = "arn:aws:sns:eu-central-1:123456789012:x-alarms"
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/1"
  queue_policy      = "{}"
  schedules         = { hourly = { expression = "cron(12 * * * ? *)", time_zone = "Europe/Berlin", window_minutes = 5, enabled = true }, daily = { expression = "rate(1 day)", time_zone = "UTC", window_minutes = 15, enabled = false } }
}

run "schedules" {
  command = plan

  assert {
    condition     = aws_scheduler_schedule.this["hourly"].state == "ENABLED" && aws_scheduler_schedule.this["daily"].state == "DISABLED"
    error_message = "A schedule can be paused."
  }

  assert {
    condition     = alltrue([for one in aws_scheduler_schedule.this : one.flexible_time_window[0].mode == "FLEXIBLE" && length(one.target[0].dead_letter_config) == 1])
    error_message = "Starts are spread, and what can't be delivered is kept."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.job_failed.event_pattern).detail.state == ["FAILED", "TIMEOUT", "ERROR"]
    error_message = "Every bad end of a job is an event."
  }
}

run "a_window_that_is_none_is_refused" {
  command = plan

  variables {
    schedules = { wrong = { expression = "rate(1 day)", time_zone = "UTC", window_minutes = 0, enabled = true } }
  }

  expect_failures = [var.schedules]
}
