output "role_arns" {
  description = "ARN of each role: check, extract, promote, machine, scheduler, optimizer; once it has its policy."
  value = merge(
    { for name, role in aws_iam_role.job : name => role.arn },
    { for name, role in aws_iam_role.service : name => role.arn },
  )
  depends_on = [aws_iam_role_policy.job, aws_iam_role_policy.service]
}

output "deploy_role_arn" {
  description = "ARN of the role that the deployment workflow assumes; null where nobody may."
  value       = one(values(aws_iam_role.deploy)[*].arn)
}

output "reader_policy_arn" {
  description = "ARN of the policy for people who query the tables."
  value       = aws_iam_policy.reader.arn
}

output "kms_key_arn" {
  description = "ARN of the key for buckets, logs, credentials and messages."
  value       = aws_kms_key.this.arn
  depends_on  = [aws_kms_alias.this] # policies name the key by it
}

output "bucket_policies" {
  description = "Policy of each zone's bucket, JSON."
  value       = { for zone, document in data.aws_iam_policy_document.bucket : zone => document.json }
  depends_on  = [aws_iam_role.job] # whom a policy names must be there
}

output "topic_policy" {
  description = "Policy of the topic, JSON."
  value       = data.aws_iam_policy_document.topic.json
}

output "queue_policy" {
  description = "Policy of the queue of undelivered events, JSON."
  value       = data.aws_iam_policy_document.queue.json
}

output "job_policies" {
  description = "What each job may do, JSON; for tests and reviews."
  value       = { for job, document in data.aws_iam_policy_document.job : job => document.json }
}
