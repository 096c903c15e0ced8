output "topic_arn" {
  description = "ARN of the topic that tells people."
  value       = aws_sns_topic.alarms.arn
}

output "alarm_arns" {
  description = "ARN of each alarm, by its name."
  value = { for alarm in concat(
    values(aws_cloudwatch_metric_alarm.job),
    values(aws_cloudwatch_metric_alarm.run),
    [aws_cloudwatch_metric_alarm.stale, aws_cloudwatch_metric_alarm.slow, aws_cloudwatch_metric_alarm.undelivered],
  ) : alarm.alarm_name => alarm.arn }
}

output "dashboard_arn" {
  description = "ARN of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_arn
}

output "metric_names" {
  description = "Names of the metrics that jobs must print."
  value       = keys(local.metrics)
}
