# One role for each job. What a job may do to the lake is listed here, zone by zone, and read by one policy document.
locals {
  access = {
    check = {
      read   = ["raw/raw/*", "state/state/*", "state/runs/*", "artifacts/*"] # raw: to see what came late it counts what is there
      write  = ["state/runs/*", "state/state/budget/*"]
      delete = ["state/state/budget/*"] # who shares the API's rate just now
      list   = ["state/state/*", "state/runs/*"]
    }
    extract = {
      read  = ["raw/raw/*", "state/state/*", "state/runs/*", "artifacts/*"]
      write = ["raw/raw/*", "state/state/*", "state/runs/*"]
      # raw is append-only: only the notes of a window under way go, of an export, and of who shares the API's rate
      delete = ["raw/raw/*/_progress/*", "state/state/budget/*", "state/state/exports/*"]
      list   = ["raw/raw/*", "state/state/*", "state/runs/*"]
    }
    promote = {
      read   = ["raw/raw/*", "qualified/qualified/*", "qualified/quarantine/*", "state/state/*", "state/runs/*", "docs/quality/*", "artifacts/*"]
      write  = ["qualified/qualified/*", "qualified/quarantine/*", "state/state/*", "state/runs/*", "docs/quality/*"]
      delete = ["qualified/qualified/*", "qualified/quarantine/*", "docs/quality/*"] # files that no snapshot names any more
      list   = ["raw/raw/*", "qualified/qualified/*", "qualified/quarantine/*", "state/state/*", "state/runs/*", "docs/quality/*"]
    }
  }

  # What every job does besides: Spark's event logs, for the Spark UI.
  events = ["state/spark/*"]

  # "raw/raw/*" is the prefix raw/* of the bucket of zone raw.
  objects = {
    for job, access in local.access : job => {
      for action in ["read", "write", "delete"] : action => [
        for path in concat(access[action], local.events) : "${local.buckets[split("/", path)[0]]}/${join("/", slice(split("/", path), 1, length(split("/", path))))}"
      ]
    }
  }

  lists = {
    for job, access in local.access : job => {
      for zone in distinct([for path in concat(access.list, local.events) : split("/", path)[0]]) : zone => [
        for path in concat(access.list, local.events) : join("/", slice(split("/", path), 1, length(split("/", path)))) if split("/", path)[0] == zone
      ]
    }
  }
}

data "aws_iam_policy_document" "job" {
  for_each = local.access

  statement {
    sid       = "ReadObjects"
    actions   = ["s3:GetObject"]
    resources = local.objects[each.key].read
  }

  statement {
    sid       = "WriteObjects"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = local.objects[each.key].write
  }

  dynamic "statement" {
    for_each = length(local.objects[each.key].delete) > 0 ? [local.objects[each.key].delete] : []

    content {
      sid       = "DeleteObjects"
      actions   = ["s3:DeleteObject"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = local.lists[each.key]

    content {
      sid       = "List${title(statement.key)}"
      actions   = ["s3:ListBucket"]
      resources = [local.buckets[statement.key]]

      condition {
        test     = "StringLikeIfExists" # HeadBucket, which tells a missing bucket from a missing object, has no prefix
        variable = "s3:prefix"
        values   = statement.value
      }
    }
  }

  # Promotion makes and commits the Iceberg tables: what pyiceberg asks of the catalog, in this environment's database.
  dynamic "statement" {
    for_each = each.key == "promote" ? [1] : []

    content {
      sid       = "CommitTables"
      actions   = ["glue:GetDatabase", "glue:GetTable", "glue:CreateTable", "glue:UpdateTable"]
      resources = [local.arn.catalog, local.arn.database, local.arn.tables]
    }
  }

  # The artifacts are fetched by Glue itself, which lists what it fetches.
  statement {
    sid       = "ListArtifacts"
    actions   = ["s3:ListBucket"]
    resources = [local.buckets.artifacts]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = local.arn.keys

    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "kms:ResourceAliases"
      values   = [local.key_alias]
    }
  }

  # Promotion sends nothing to the API, but reads the settings whole, credentials among them.
  statement {
    sid       = "ReadCredentials"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [local.arn.secret]
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:AssociateKmsKey"]
    resources = [local.arn.job_logs, "arn:aws:logs:${var.region}:${var.account_id}:log-group:/aws-glue/*"]
  }

  statement {
    sid       = "WriteMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"] # this action knows no resource; the namespace bounds it

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["Glue"]
    }
  }

  dynamic "statement" {
    for_each = var.vpc ? [1] : []

    content {
      sid       = "ReadConnection"
      actions   = ["glue:GetConnection"]
      resources = ["arn:aws:glue:${var.region}:${var.account_id}:catalog", "arn:aws:glue:${var.region}:${var.account_id}:connection/${var.name}-network"]
    }
  }

  dynamic "statement" {
    for_each = var.vpc ? [1] : []

    content {
      sid       = "LookAtNetwork"
      actions   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcEndpoints", "ec2:DescribeRouteTables", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcAttribute"]
      resources = ["*"] # EC2's Describe actions know no resource
    }
  }

  dynamic "statement" {
    for_each = var.vpc ? [1] : []

    content {
      sid       = "MakeInterfaces"
      actions   = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:CreateTags", "ec2:DeleteTags"]
      resources = ["arn:aws:ec2:${var.region}:${var.account_id}:network-interface/*", "arn:aws:ec2:${var.region}:${var.account_id}:subnet/*", "arn:aws:ec2:${var.region}:${var.account_id}:security-group/*"]
    }
  }
}

resource "aws_iam_role" "job" {
  for_each = local.access

  name                 = "${var.name}-${each.key}"
  description          = "What the Glue job ${var.name}-${each.key} may do."
  assume_role_policy   = data.aws_iam_policy_document.trust["jobs"].json
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_role_policy" "job" {
  for_each = local.access

  name   = "job"
  role   = aws_iam_role.job[each.key].id
  policy = data.aws_iam_policy_document.job[each.key].json
}
