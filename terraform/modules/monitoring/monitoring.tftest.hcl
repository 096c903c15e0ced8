mock_provider "aws" {
  mock_resource "aws_sns_topic" {
    defaults        = { arn = "arn:aws:sns:eu-central-1:123456789012:x-alarms" }
    override_during = plan
  }
}

variables {
  name              = "smartsensor-dev"
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/1"
  topic_policy      = "{}"
  emails            = ["team@example.com"]
  job_log_group     = "/smartsensor/x/jobs/output"
  state_machine_arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:x"
  queue_name        = "x-undelivered"
  limits            = { hours_without_success = 3, refused_per_hour = 100, quarantine_share = 0.01, lag_minutes = 180 }
  budget_usd        = 50
}

run "every_alarm_tells_somebody" {
  command = plan

  assert {
    condition = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.job), values(aws_cloudwatch_metric_alarm.run),
      [aws_cloudwatch_metric_alarm.stale, aws_cloudwatch_metric_alarm.slow, aws_cloudwatch_metric_alarm.undelivered]) :
    alarm.alarm_actions == toset(["arn:aws:sns:eu-central-1:123456789012:x-alarms"]) && strcontains(alarm.alarm_description, "runbook")])
    error_message = "An alarm that tells nobody, or not what to do, is none."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.stale.treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.stale.evaluation_periods == 3
    error_message = "Silence is the sign of a pipeline that does not run."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.job : contains(keys(aws_cloudwatch_log_metric_filter.job), alarm.metric_name)])
    error_message = "Every alarm on a job's figure has the filter that makes it."
  }

  assert {
    condition     = alltrue([for name, one in aws_cloudwatch_log_metric_filter.job : one.pattern == "{ $.metric = \"${name}\" }"])
    error_message = "Filters look for the lines that jobs print."
  }
}

run "a_held_window_is_told_after_a_day" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.job["window-held"].threshold == 24 && aws_cloudwatch_metric_alarm.job["window-held"].statistic == "Maximum"
    error_message = "Unless a limit is given, a day."
  }
}

run "a_budget_and_a_topic_of_our_own_key" {
  command = plan

  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == "arn:aws:kms:eu-central-1:123456789012:key/1" && aws_budgets_budget.month.limit_amount == "50"
    error_message = "AWS's own key for SNS would shut out EventBridge and CloudWatch."
  }
}
