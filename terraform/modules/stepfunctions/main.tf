resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_338:Runs are kept in the lake; the log is for the weeks in which somebody asks.
  name              = "/aws/vendedlogs/states/${var.name}-pipeline" # this prefix keeps the log's resource policy short
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_sfn_state_machine" "this" {
  # checkov:skip=CKV_AWS_284:X-Ray costs by trace and a run has three steps: the variable `tracing` switches it on.
  name     = "${var.name}-pipeline"
  role_arn = var.role_arn
  type     = "STANDARD"

  definition = templatefile("${path.module}/pipeline.asl.json", {
    job_names     = var.job_names
    timeouts      = { for step, minutes in var.job_timeout_minutes : step => minutes * 60 + 600 }
    state_bucket  = var.state_bucket
    topic_arn     = var.topic_arn
    name          = var.name
    lanes         = var.lanes
    lanes_at_once = var.lanes_at_once
  })

  logging_configuration {
    include_execution_data = true # inputs and outputs hold names and counts, never rows or secrets
    level                  = "ALL"
    log_destination        = "${aws_cloudwatch_log_group.this.arn}:*"
  }

  tracing_configuration {
    enabled = var.tracing
  }
}
