mock_provider "aws" {}

variables {
  bucket_names    = { raw = "x-raw-1", qualified = "x-qualified-1", state = "x-state-1", artifacts = "x-artifacts-1", docs = "x-docs-1" }
  bucket_policies = { raw = "{}", qualified = "{}", state = "{}", artifacts = "{}", docs = "{}" }
  kms_key_arn     = "arn:aws:kms:eu-central-1:123456789012:key/1"
  retention_days  = { raw = 730, runs = 180, docs = 90, queries = 7 }
}

run "every_bucket_is_closed_versioned_and_encrypted" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket.this) == 5 && length(aws_s3_bucket_policy.this) == 5
    error_message = "A bucket, and a policy, for each zone."
  }

  assert {
    condition = alltrue([for block in aws_s3_bucket_public_access_block.this :
    block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "Public access must be blocked in all four ways."
  }

  assert {
    condition     = alltrue([for one in aws_s3_bucket_versioning.this : one.versioning_configuration[0].status == "Enabled"])
    error_message = "Versions must be kept."
  }

  assert {
    condition = alltrue([for one in aws_s3_bucket_server_side_encryption_configuration.this :
    alltrue([for rule in one.rule : rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"])])
    error_message = "With a key, objects are encrypted with it."
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : !bucket.force_destroy])
    error_message = "Nobody loses data by a destroy unless they asked for it."
  }
}

run "state_never_expires" {
  command = plan

  assert {
    condition = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this["state"].rule :
    length(rule.expiration) == 0 || contains(["runs/", "spark/", "athena/"], rule.filter[0].prefix)])
    error_message = "Only records of runs and results of queries may expire in the state bucket."
  }

  assert {
    condition = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this["qualified"].rule :
    length(rule.expiration) == 0 && length(rule.transition) == 0])
    error_message = "Iceberg owns its files: a rule that expires or moves them by age breaks tables."
  }
}

run "without_a_key_s3_encrypts_by_itself" {
  command = plan

  variables {
    kms_key_arn = null
  }

  assert {
    condition = alltrue([for one in aws_s3_bucket_server_side_encryption_configuration.this :
    alltrue([for rule in one.rule : rule.apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"])])
    error_message = "Without a key: SSE-S3."
  }
}

run "a_zone_without_a_bucket_is_refused" {
  command = plan

  variables {
    bucket_names = { raw = "x-raw-1" }
  }

  expect_failures = [var.bucket_names]
}
