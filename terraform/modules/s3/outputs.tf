output "bucket_arns" {
  description = "ARN of each zone's bucket."
  value       = { for zone, bucket in aws_s3_bucket.this : zone => bucket.arn }
}

output "bucket_names" {
  description = "Name of each zone's bucket, once it is encrypted and its policy stands."
  value       = { for zone, bucket in aws_s3_bucket.this : zone => bucket.id }
  depends_on  = [aws_s3_bucket_policy.this, aws_s3_bucket_server_side_encryption_configuration.this]
}
