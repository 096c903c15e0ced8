output "lake" {
  description = "Root of the lake, for SMARTSENSOR_LAKE."
  value       = module.glue.lake
}

output "bucket_names" {
  description = "Bucket of each zone."
  value       = module.s3.bucket_names
}

output "secret_arn" {
  description = "Where the API's credentials go: aws secretsmanager put-secret-value --secret-id ..."
  value       = module.glue.secret_arn
}

output "state_machine_arn" {
  description = "What to start: aws stepfunctions start-execution --state-machine-arn ..."
  value       = module.stepfunctions.state_machine_arn
}

output "schedule_arns" {
  description = "The schedules that start it."
  value       = module.eventbridge.schedule_arns
}

output "database_name" {
  description = "Database of the tables, for Athena."
  value       = module.glue.database_name
}

output "workgroup" {
  description = "Workgroup of Athena, for queries over the tables."
  value       = module.glue.workgroup
}

output "reader_policy_arn" {
  description = "Policy for people who query the tables through the workgroup: attach it to their role."
  value       = module.iam.reader_policy_arn
}

output "topic_arn" {
  description = "Where alarms are told: subscribe more readers here."
  value       = module.monitoring.topic_arn
}

output "deploy_role_arn" {
  description = "Role of the deployment workflow: the variable AWS_ROLE_ARN of the GitHub environment."
  value       = module.iam.deploy_role_arn
}

output "consoles" {
  description = "Pages to open."
  value = {
    runs      = "https://${var.region}.console.aws.amazon.com/states/home?region=${var.region}#/statemachines/view/${module.stepfunctions.state_machine_arn}"
    dashboard = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${local.name}"
    records   = "https://s3.console.aws.amazon.com/s3/buckets/${module.s3.bucket_names["state"]}?prefix=runs/"
    quality   = "https://s3.console.aws.amazon.com/s3/object/${module.s3.bucket_names["docs"]}?prefix=quality/index.html"
  }
}
