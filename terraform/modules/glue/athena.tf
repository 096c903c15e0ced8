# SQL over the catalog: a workgroup whose settings nobody can leave, and a first query to start from.
resource "aws_athena_workgroup" "this" {
  name          = var.name
  description   = "Queries over the lake of ${var.name}."
  force_destroy = true # its history and saved queries go with it; the data is elsewhere

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.query_limit_gb * 1024 * 1024 * 1024

    engine_version {
      selected_engine_version = "Athena engine version 3" # Iceberg's time travel and timestamps with a zone
    }

    result_configuration {
      output_location = "s3://${var.bucket_names.state}/athena/"

      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = var.kms_key_arn
      }
    }
  }
}

resource "aws_athena_named_query" "hours" {
  count = var.project.source == "" ? 1 : 0 # it asks for measurements, which are smartsensor's own

  name        = "Measurements by hour"
  description = "The last week of qualified measurements: readings, range and mean of each hour, by plant and type."
  workgroup   = aws_athena_workgroup.this.id
  database    = aws_glue_catalog_database.this.name
  query       = file("${path.module}/hours.sql")
}

moved {
  from = aws_athena_named_query.hours
  to   = aws_athena_named_query.hours[0]
}
