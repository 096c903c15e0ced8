# What is measured: jobs print a line of JSON for each figure ({"metric": "requests_refused", "value": 3, ...}), and these
# filters make metrics of them. Names here are names there.
locals {
  namespace = "Smartsensor/${var.name}"

  metrics = {
    requests_sent     = "Count"
    requests_refused  = "Count" # answered 429
    rows_landed       = "Count"
    rows_published    = "Count"
    rows_quarantined  = "Count"
    quarantine_share  = "None" # quarantined rows of those that a promotion read, 0 to 1
    gate_held         = "Count"
    watermark_lag_min = "None"
    held_hours        = "None" # age of the oldest window that waits for a person's decision; 0: none waits
  }

  # One threshold each. What has no data is good, except for runs: silence is the worst of signs.
  alarms = {
    requests-refused = { metric = "requests_refused", statistic = "Sum", period = 3600, above = var.limits.refused_per_hour, says = "The API refused many requests (429): lower the rate, or ask for more." }
    quarantine-share = { metric = "quarantine_share", statistic = "Maximum", period = 3600, above = var.limits.quarantine_share, says = "Many rows went to quarantine." }
    gate-held        = { metric = "gate_held", statistic = "Sum", period = 300, above = 0, says = "The gate held: a resource was not published." }
    window-held      = { metric = "held_hours", statistic = "Maximum", period = 3600, above = var.limits.held_age_hours, says = "A window that the gate held waits for a decision." }
    watermark-lag    = { metric = "watermark_lag_min", statistic = "Maximum", period = 3600, above = var.limits.lag_minutes, says = "A watermark is far behind." }
  }

  failures = {
    run-failed  = "ExecutionsFailed"
    run-late    = "ExecutionsTimedOut"
    run-aborted = "ExecutionsAborted"
  }
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
  policy            = var.topic_policy
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.emails)

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_log_metric_filter" "job" {
  for_each = local.metrics

  name           = "${var.name}-${each.key}"
  log_group_name = var.job_log_group
  pattern        = "{ $.metric = \"${each.key}\" }"

  metric_transformation {
    name      = each.key
    namespace = local.namespace
    value     = "$.value"
    unit      = each.value
  }
}

resource "aws_cloudwatch_metric_alarm" "job" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.says} Runbook: nbs/tutorials/runbook.ipynb"
  namespace           = local.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]

  depends_on = [aws_cloudwatch_log_metric_filter.job]
}

resource "aws_cloudwatch_metric_alarm" "run" {
  for_each = local.failures

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "A run of the pipeline ended badly (${each.value}). Runbook: nbs/tutorials/runbook.ipynb"
  namespace           = "AWS/States"
  metric_name         = each.value
  dimensions          = { StateMachineArn = var.state_machine_arn }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# Freshness: nothing succeeded for hours, whatever the reason; also when no run was started at all.
resource "aws_cloudwatch_metric_alarm" "stale" {
  alarm_name          = "${var.name}-stale"
  alarm_description   = "No run succeeded for ${var.limits.hours_without_success} hours. Runbook: nbs/tutorials/runbook.ipynb"
  namespace           = "AWS/States"
  metric_name         = "ExecutionsSucceeded"
  dimensions          = { StateMachineArn = var.state_machine_arn }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = var.limits.hours_without_success
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# Duration against its own norm of the last two weeks.
resource "aws_cloudwatch_metric_alarm" "slow" {
  alarm_name          = "${var.name}-slow"
  alarm_description   = "Runs take longer than they used to. Runbook: nbs/tutorials/runbook.ipynb"
  comparison_operator = "GreaterThanUpperThreshold"
  evaluation_periods  = 2
  threshold_metric_id = "norm"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "norm"
    expression  = "ANOMALY_DETECTION_BAND(duration, 3)"
    label       = "usual duration"
    return_data = true
  }

  metric_query {
    id          = "duration"
    return_data = true

    metric {
      namespace   = "AWS/States"
      metric_name = "ExecutionTime"
      dimensions  = { StateMachineArn = var.state_machine_arn }
      period      = 3600
      stat        = "Maximum"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "undelivered" {
  alarm_name          = "${var.name}-undelivered"
  alarm_description   = "A start of the pipeline, or a notice of a failed job, was not delivered. Runbook: nbs/tutorials/runbook.ipynb"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = var.queue_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [
      for at, widget in [
        { title = "Runs", metrics = [for name in ["ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut"] : ["AWS/States", name, "StateMachineArn", var.state_machine_arn]], stat = "Sum" },
        { title = "Duration of a run, ms", metrics = [["AWS/States", "ExecutionTime", "StateMachineArn", var.state_machine_arn]], stat = "Maximum" },
        { title = "Rows", metrics = [for name in ["rows_landed", "rows_published", "rows_quarantined"] : [local.namespace, name]], stat = "Sum" },
        { title = "Requests", metrics = [for name in ["requests_sent", "requests_refused"] : [local.namespace, name]], stat = "Sum" },
        { title = "Share in quarantine, and gates that held", metrics = [for name in ["quarantine_share", "gate_held"] : [local.namespace, name]], stat = "Maximum" },
        { title = "Age of the oldest held window, hours", metrics = [[local.namespace, "held_hours"]], stat = "Maximum" },
        { title = "Lag of watermarks, minutes", metrics = [[local.namespace, "watermark_lag_min"]], stat = "Maximum" },
        ] : {
        type       = "metric"
        x          = at % 2 * 12
        y          = floor(at / 2) * 6
        width      = 12
        height     = 6
        properties = { title = widget.title, metrics = widget.metrics, stat = widget.stat, period = 3600, region = split(":", var.state_machine_arn)[3], view = "timeSeries" }
      }
    ]
  })
}

resource "aws_budgets_budget" "month" {
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = ["user:Name$${var.name}"]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      comparison_operator       = "GREATER_THAN"
      notification_type         = notification.key
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
    }
  }
}
