locals {
  # What expires, by zone: id of the rule to prefix and days.
  expiring = {
    raw = { raw = { prefix = "raw/", days = var.retention_days.raw } }
    # Iceberg owns qualified/ and quarantine/: its snapshots say which files go. A rule by age would break tables.
    qualified = {}
    # state/ itself is never expired
    state = merge(
      { for prefix in ["runs", "spark"] : prefix => { prefix = "${prefix}/", days = var.retention_days.runs } },
      { athena = { prefix = "athena/", days = var.retention_days.queries } },
    )
    artifacts = {}
    docs      = { quality = { prefix = "quality/", days = var.retention_days.docs } }
  }

  # What is read seldom once it is old: zone to prefix.
  cooling = { raw = "raw/" }
}

resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV_AWS_18:Who read what is told by CloudTrail's data events, which the account's owner switches on.
  # checkov:skip=CKV_AWS_144:The source can be read again, and versions guard against deletion: no second region.
  # checkov:skip=CKV2_AWS_62:The state machine says when data is there: nothing listens to single objects.
  # checkov:skip=CKV2_AWS_61:Every bucket has a lifecycle below; checkov does not follow one for_each into another.
  # checkov:skip=CKV_AWS_145:The key is given by the caller; the default of null is for those who may not make keys.
  for_each = var.bucket_names

  bucket        = each.value
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = aws_s3_bucket.this

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      kms_master_key_id = var.kms_key_arn
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id
  policy = var.bucket_policies[each.key]

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  # checkov:skip=CKV_AWS_300:Every bucket has the rule "incomplete" that aborts uploads; checkov does not see it.
  for_each = aws_s3_bucket_versioning.this

  bucket = each.value.bucket

  rule {
    id     = "incomplete"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }

  dynamic "rule" {
    for_each = local.expiring[each.key]

    content {
      id     = "expire-${rule.key}"
      status = "Enabled"

      filter {
        prefix = rule.value.prefix
      }

      expiration {
        days = rule.value.days
      }
    }
  }

  dynamic "rule" {
    for_each = contains(keys(local.cooling), each.key) ? [local.cooling[each.key]] : []

    content {
      id     = "cool"
      status = "Enabled"

      filter {
        prefix = rule.value
      }

      transition {
        days          = 30
        storage_class = "STANDARD_IA"
      }

      transition {
        days          = 90
        storage_class = "GLACIER_IR" # milliseconds to read: a replay needs no restore
      }
    }
  }
}
