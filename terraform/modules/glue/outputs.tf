output "job_names" {
  description = "Name of each job: check, extract, promote."
  value       = { for job, this in aws_glue_job.this : job => this.name }
}

output "job_arns" {
  description = "ARN of each job."
  value       = { for job, this in aws_glue_job.this : job => this.arn }
}

output "secret_arn" {
  description = "ARN of the secret that holds the API's credentials."
  value       = aws_secretsmanager_secret.api.arn
}

output "output_log_group" {
  description = "Log group of what jobs print: the metrics' lines are in it."
  value       = aws_cloudwatch_log_group.jobs["output"].name
}

output "database_name" {
  description = "Database of the catalog."
  value       = aws_glue_catalog_database.this.name
}

output "database_arn" {
  description = "ARN of the catalog's database."
  value       = aws_glue_catalog_database.this.arn
}

output "lake" {
  description = "Root of the lake, for SMARTSENSOR_LAKE; {zone} stands for raw, qualified, state or docs."
  value       = local.lake
}

output "workgroup" {
  description = "Workgroup of Athena, for queries over the tables."
  value       = aws_athena_workgroup.this.name
}
