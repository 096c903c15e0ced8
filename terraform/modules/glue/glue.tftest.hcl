mock_provider "aws" {
  mock_resource "aws_secretsmanager_secret" {
    defaults        = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x/api-AbCdEf" }
    override_during = plan
  }
}

variables {
  name               = "smartsensor-dev"
  database           = "smartsensor_dev"
  role_arns          = { for job in ["check", "extract", "promote", "optimizer"] : job => "arn:aws:iam::123456789012:role/${job}" }
  bucket_names       = { raw = "b-raw-1", qualified = "b-qualified-1", state = "b-state-1", artifacts = "b-artifacts-1", docs = "b-docs-1" }
  kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/1"
  release            = "abc"
  api                = { url = "https://api.example/v1", rate_per_s = 10, history_days = 3 }
  jobs               = { for job in ["check", "extract", "promote"] : job => { worker_type = "G.1X", workers = 2, timeout_minutes = 60, at_once = job == "extract" ? 4 : 1, engine = job == "promote" ? "spark" : "duckdb" } }
  log_retention_days = 30
  held_age_hours     = 24
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
    condition     = alltrue([for job in aws_glue_job.this : job.default_arguments["--SMARTSENSOR_DATABASE"] == "smartsensor_dev"])
    error_message = "Jobs are told the database of the Iceberg tables."
  }

  assert {
    condition     = alltrue([for job in aws_glue_job.this : job.default_arguments["--SMARTSENSOR_HELD_HOURS"] == "24"])
    error_message = "Jobs call a held window overdue when the alarm does."
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

run "raw_tables_need_no_crawler" {
  command = plan

  assert {
    condition     = length(aws_glue_catalog_table.this) == 8 && alltrue([for name in keys(aws_glue_catalog_table.this) : startswith(name, "raw_")])
    error_message = "Eight resources in raw; promotion makes the Iceberg tables of qualified and quarantine."
  }

  assert {
    condition = alltrue([for table in aws_glue_catalog_table.this :
    lookup(table.parameters, "projection.enabled", "") == "true" && length(table.partition_keys) == 1])
    error_message = "Partitions are projected."
  }

  assert {
    condition     = aws_glue_catalog_table.this["raw_measurements"].parameters["storage.location.template"] == "s3://b-raw-1/raw/measurements/ingest_date=$${ingest_date}/"
    error_message = "Athena finds a day in its folder."
  }

  assert {
    condition     = length(aws_glue_catalog_table_optimizer.this) == 0
    error_message = "Before the first promotion there is no table to optimize."
  }
}

run "tables_that_are_there_are_optimized" {
  command = plan

  variables {
    optimized_tables = ["measurements", "quarantine_measurements"]
  }

  assert {
    condition = toset(keys(aws_glue_catalog_table_optimizer.this)) == toset(flatten([for table in ["measurements", "quarantine_measurements"] :
    [for type in ["compaction", "retention", "orphan_file_deletion"] : "${table}.${type}"]]))
    error_message = "Three optimizers for each table."
  }

  assert {
    condition     = alltrue([for one in aws_glue_catalog_table_optimizer.this : one.configuration[0].enabled && one.configuration[0].role_arn == "arn:aws:iam::123456789012:role/optimizer"])
    error_message = "Optimizers run, as their own role."
  }

  assert {
    condition = alltrue([for one in aws_glue_catalog_table_optimizer.this :
      one.configuration[0].retention_configuration[0].iceberg_configuration[0].snapshot_retention_period_in_days >= 30 &&
    one.configuration[0].retention_configuration[0].iceberg_configuration[0].number_of_snapshots_to_retain >= 10 if one.type == "retention"])
    error_message = "Snapshots carry what promotion did last: they stay for 30 days, and ten at least."
  }

  assert {
    condition = alltrue([for one in aws_glue_catalog_table_optimizer.this :
    one.configuration[0].orphan_file_deletion_configuration[0].iceberg_configuration[0].orphan_file_retention_period_in_days * 24 * 60 >= 3 * 24 * 60 + max([for job in var.jobs : job.timeout_minutes]...) if one.type == "orphan_file_deletion"])
    error_message = "What a promotion has staged and not committed yet must outlive the longest job by days."
  }
}

run "athena_is_bounded" {
  command = plan

  variables {
    query_limit_gb = 5
  }

  assert {
    condition = alltrue([for one in aws_athena_workgroup.this.configuration :
      one.enforce_workgroup_configuration && one.bytes_scanned_cutoff_per_query == 5 * pow(1024, 3) &&
      one.engine_version[0].selected_engine_version == "Athena engine version 3" &&
      one.result_configuration[0].output_location == "s3://b-state-1/athena/" &&
    one.result_configuration[0].encryption_configuration[0].encryption_option == "SSE_KMS"])
    error_message = "Nobody leaves the workgroup's settings: engine 3, a limit, results encrypted where they expire."
  }

  assert {
    condition     = aws_athena_named_query.hours[0].database == "smartsensor_dev" && strcontains(aws_athena_named_query.hours[0].query, "FROM measurements")
    error_message = "The saved query reads the qualified table of this database."
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

run "a_project_brings_its_own" {
  command = plan

  variables {
    project = { source = "nbs/source.ipynb", wheels = "demo.gluewheels.zip", expectations = "suites", notebooks = "jobs" }
  }

  assert {
    condition = alltrue([for name, job in aws_glue_job.this :
      job.default_arguments["--SMARTSENSOR_SOURCE"] == "s3://b-artifacts-1/releases/abc/nbs/source.ipynb" &&
      job.default_arguments["--additional-python-modules"] == "s3://b-artifacts-1/releases/abc/demo.gluewheels.zip" &&
      job.default_arguments["--expectations"] == "s3://b-artifacts-1/releases/abc/suites/" &&
      job.default_arguments["--notebook"] == "s3://b-artifacts-1/releases/abc/jobs/${name}.ipynb" &&
    job.command[0].script_location == "s3://b-artifacts-1/releases/abc/jobs/job.py"])
    error_message = "Source, wheels, suites and job notebooks of a project come from its release."
  }

  assert {
    condition     = length(aws_glue_catalog_table.this) == 0 && length(aws_athena_named_query.hours) == 0
    error_message = "smartsensor's own raw tables and saved query are not a project's."
  }
}

run "a_project_names_a_module_and_its_tables" {
  command = plan

  variables {
    project = { source = "demo.source:SOURCE", raw_tables = "./tables.json" }
  }

  assert {
    condition     = alltrue([for job in aws_glue_job.this : job.default_arguments["--SMARTSENSOR_SOURCE"] == "demo.source:SOURCE"])
    error_message = "What the wheels hold is imported, not copied."
  }

  assert {
    condition     = length(aws_glue_catalog_table.this) == 8
    error_message = "Raw tables of a project are declared by a file."
  }
}

run "smartsensors_own_source_is_not_named" {
  command = plan

  assert {
    condition     = alltrue([for job in aws_glue_job.this : !contains(keys(job.default_arguments), "--SMARTSENSOR_SOURCE")])
    error_message = "Without a project the jobs read smartsensor's own source."
  }
}
