output "state_machine_arn" {
  description = "ARN of the state machine."
  value       = aws_sfn_state_machine.this.arn
}

output "log_group_arn" {
  description = "ARN of the state machine's log group."
  value       = aws_cloudwatch_log_group.this.arn
}

output "definition" {
  description = "The rendered state machine, JSON; for tests."
  value       = aws_sfn_state_machine.this.definition
}
