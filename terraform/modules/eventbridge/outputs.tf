output "schedule_arns" {
  description = "ARN of each schedule."
  value       = { for name, schedule in aws_scheduler_schedule.this : name => schedule.arn }
}

output "queue_arn" {
  description = "ARN of the queue of undelivered starts and events."
  value       = aws_sqs_queue.undelivered.arn
}

output "queue_name" {
  description = "Name of the same, for alarms."
  value       = aws_sqs_queue.undelivered.name
}

output "rule_arn" {
  description = "ARN of the rule on failed jobs."
  value       = aws_cloudwatch_event_rule.job_failed.arn
}
