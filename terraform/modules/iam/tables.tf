# Who works on the tables besides promotion: AWS's optimizers, and people who query them.

data "aws_iam_policy_document" "optimizer" {
  statement {
    sid       = "TendFiles"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = [for prefix in ["qualified", "quarantine"] : "${local.buckets.qualified}/${prefix}/*"]
  }

  statement {
    sid       = "FindFiles"
    actions   = ["s3:ListBucket"]
    resources = [local.buckets.qualified]
  }

  statement {
    sid       = "CommitTables"
    actions   = ["glue:GetTable", "glue:UpdateTable"]
    resources = [local.arn.catalog, local.arn.database, local.arn.tables]
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

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for type in ["compaction", "retention", "orphan-file-deletion"] : "arn:aws:logs:${var.region}:${var.account_id}:log-group:/aws-glue/iceberg-${type}/logs:*"]
  }
}

# Queries through the workgroup, and nothing that changes a table. For people's roles, which this project does not make.
data "aws_iam_policy_document" "reader" {
  statement {
    sid = "Query"
    actions = [
      "athena:StartQueryExecution", "athena:StopQueryExecution", "athena:GetQueryExecution", "athena:GetQueryResults",
      "athena:ListQueryExecutions", "athena:GetWorkGroup", "athena:ListNamedQueries", "athena:GetNamedQuery", "athena:BatchGetNamedQuery",
    ]
    resources = [local.arn.group]
  }

  statement {
    sid       = "ReadCatalog"
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:GetTables"]
    resources = [local.arn.catalog, local.arn.database, local.arn.tables]
  }

  statement {
    sid       = "ReadTables"
    actions   = ["s3:GetObject"]
    resources = ["${local.buckets.raw}/raw/*", "${local.buckets.qualified}/qualified/*", "${local.buckets.qualified}/quarantine/*"]
  }

  statement {
    sid       = "KeepResults"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
    resources = ["${local.buckets.state}/athena/*"]
  }

  statement {
    sid       = "FindFiles"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [local.buckets.raw, local.buckets.qualified, local.buckets.state]
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
}

resource "aws_iam_policy" "reader" {
  name        = "${var.name}-reader"
  description = "Queries over the tables of ${var.name} through its Athena workgroup."
  policy      = data.aws_iam_policy_document.reader.json
}
