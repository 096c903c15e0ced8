mock_provider "aws" {
  mock_resource "aws_secretsmanager_secret" {
    defaults        = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x/api-AbCdEf" }
    override_during = plan
  }
}

variables {
  name               = "smartsensor-dev"
  role_arns          = { for job in ["check", "extract", "promote"] : job => "arn:aws:iam::123456789012:role/${job}" }
  bucket_names       = { raw = "b-raw-1", qualified = "b-qualified-1", state = "b-state-1", artifacts = "b-artifacts-1", docs = "b-docs-1" }
  kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/1"
  release            = "abc"
  api                = { url = "https://api.example/v1", rate_per_s = 10, history_days = 3 }
  jobs               = { for job in ["check", "extract", "promote"] : job => { worker_type = "G.1X", workers = 2, timeout_minutes = 60, at_once = job == "extract" ? 4 : 1, engine = job == "promote" ? "spark" : "duckdb" } }
  log_retention_days = 30
}

run "jobs" {
  command = plan

  assert {
    condition     = alltrue([for job in aws_glue_job.this : job.glue_version == "5.1" && job.max_retries == 0 && !job.job_run_queuing_enabled && job.timeout == 60])
    error_message = "Glue 5.1; retries belong to the state machine; no queue; a timeout."
  }

  assert {
    condition     = alltrue([for name, job in aws_glue_job.this : job.role_arn == "arn:aws:iam::123456789012:role/${name}"])
    error_message = "A role for each job."
  }

  assert {
    condition     = alltrue([for job in aws_glue_job.this : job.default_arguments["--SMARTSENSOR_RATE_PER_S"] == "10"])
    error_message = "Jobs are told the whole rate: they share it in the lake."
  }

  assert {
    condition     = alltrue([for job in aws_glue_job.this : !contains(keys(job.default_arguments), "--SMARTSENSOR_CLIENT_SECRET")])
    error_message = "A secret is named, never passed."
  }

  assert {
    condition     = output.lake == "s3://b-{zone}-1"
    error_message = "The lake's root stands for a bucket of each zone."
  }

  assert {
    condition     = length(aws_glue_connection.network) == 0 && alltrue([for job in aws_glue_job.this : length(job.connections) == 0])
    error_message = "Without a VPC there is no connection."
  }
}

run "tables_need_no_crawler" {
  command = plan

  assert {
    condition     = length(aws_glue_catalog_table.this) == 24
    error_message = "Eight resources in three zones."
  }

  assert {
    condition = alltrue([for table in aws_glue_catalog_table.this :
    lookup(table.parameters, "projection.enabled", "") == "true" if length(table.partition_keys) > 0])
    error_message = "Partitions are projected."
  }

  assert {
    condition     = aws_glue_catalog_table.this["qualified_measurements"].parameters["storage.location.template"] == "s3://b-qualified-1/qualified/measurements/measured_date=$${measured_date}/"
    error_message = "Athena finds a day in its folder."
  }
}

run "in_a_vpc" {
  command = plan

  variables {
    vpc = { subnet_id = "subnet-1", availability_zone = "eu-central-1a", security_group_ids = ["sg-1"] }
  }

  assert {
    condition     = length(aws_glue_connection.network) == 1 && alltrue([for job in aws_glue_job.this : job.connections == tolist(["smartsensor-dev-network"])])
    error_message = "With a VPC every job runs in its subnet."
  }
}
