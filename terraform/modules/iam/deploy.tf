# The role of the deployment workflow, and the boundary that keeps it from making roles mightier than what runs here.

locals {
  named = {
    buckets   = values(local.buckets)
    functions = [local.arn.machine, "${replace(local.arn.machine, ":stateMachine:", ":express:")}:*", "${replace(local.arn.machine, ":stateMachine:", ":execution:")}:*"]
  }
}

# The most that any role of this project can ever have, whatever policy it is given.
data "aws_iam_policy_document" "boundary" {
  # checkov:skip=CKV_AWS_108:A boundary grants nothing; roles are bounded by resource in their own policies.
  # checkov:skip=CKV_AWS_111:See above.
  # checkov:skip=CKV_AWS_356:See above.
  statement {
    sid = "Data"
    actions = [
      "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucket",
    ]
    resources = concat(local.named.buckets, [for arn in local.named.buckets : "${arn}/*"])
  }

  statement {
    sid = "Services"
    actions = [
      "glue:StartJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun", "glue:GetConnection",
      "glue:GetDatabase", "glue:GetTable", "glue:CreateTable", "glue:UpdateTable",
      "states:StartExecution", "states:ListExecutions", "sns:Publish", "sqs:SendMessage", "secretsmanager:GetSecretValue",
      "kms:Decrypt", "kms:GenerateDataKey", "cloudwatch:PutMetricData",
      "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:AssociateKmsKey", "logs:CreateLogDelivery", "logs:GetLogDelivery",
      "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy",
      "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
      "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets",
      "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:CreateTags", "ec2:DeleteTags", "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeVpcEndpoints", "ec2:DescribeRouteTables", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcAttribute",
    ]
    resources = ["*"] # an upper bound over services; each role's own policy names its resources
  }
}

resource "aws_iam_policy" "boundary" {
  name        = "${var.name}-boundary"
  description = "The most that any role of ${var.name} can have."
  policy      = data.aws_iam_policy_document.boundary.json
}

data "aws_iam_policy_document" "deploy_trust" {
  for_each = var.github == null ? {} : { github = var.github }

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [each.value.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:aud"
      values   = ["sts.amazonaws.com"]
    }

    # Only jobs of this repository that GitHub has let into this environment: its approvals stand before the role.
    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:sub"
      values   = ["repo:${each.value.repository}:environment:${each.value.environment}"]
    }
  }
}

data "aws_iam_policy_document" "deploy" {
  # checkov:skip=CKV_AWS_111:Create and List actions that know no resource are listed apart, with the reason.
  # checkov:skip=CKV_AWS_356:See above.
  # checkov:skip=CKV_AWS_109:Roles can be made within the boundary only.
  statement {
    sid = "Buckets"
    actions = [
      "s3:CreateBucket", "s3:DeleteBucket", "s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucket*", "s3:PutBucket*", "s3:DeleteBucketPolicy",
      "s3:GetAccelerateConfiguration", "s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration",
      "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration", "s3:GetReplicationConfiguration",
    ]
    resources = local.named.buckets
  }

  statement {
    sid       = "Artifacts"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${local.buckets.artifacts}/releases/*"]
  }

  statement {
    sid       = "TerraformState"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${var.state_bucket_arn}/${var.name}/*"]
  }

  statement {
    sid       = "ListTerraformState"
    actions   = ["s3:ListBucket"]
    resources = [var.state_bucket_arn]
  }

  statement {
    sid     = "Roles"
    actions = ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary"]
    resources = [
      for suffix in local.roles : "arn:aws:iam::${var.account_id}:role/${var.name}-${suffix}"
    ]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = ["arn:aws:iam::${var.account_id}:policy/${var.name}-boundary"]
    }
  }

  # Not its own role, nor the boundary, nor the readers' policy: those are a person's to change.
  statement {
    sid       = "ReadAndTendRoles"
    actions   = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateRoleDescription"]
    resources = [for suffix in local.roles : "arn:aws:iam::${var.account_id}:role/${var.name}-${suffix}"]
  }

  statement {
    sid       = "ReadOwnRole"
    actions   = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies", "iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListPolicyVersions"]
    resources = ["arn:aws:iam::${var.account_id}:role/${var.name}-deploy", "arn:aws:iam::${var.account_id}:policy/${var.name}-boundary", "arn:aws:iam::${var.account_id}:policy/${var.name}-reader"]
  }

  statement {
    sid       = "PassRoles"
    actions   = ["iam:PassRole"]
    resources = [for suffix in local.roles : "arn:aws:iam::${var.account_id}:role/${var.name}-${suffix}"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["glue.amazonaws.com", "states.amazonaws.com", "scheduler.amazonaws.com"]
    }
  }

  statement {
    sid     = "Named"
    actions = ["glue:*", "states:*", "scheduler:*", "events:*", "sns:*", "sqs:*", "logs:*", "cloudwatch:*", "secretsmanager:*", "budgets:*", "athena:*"]
    resources = [
      local.arn.catalog,
      "arn:aws:glue:${var.region}:${var.account_id}:job/${var.name}-*",
      "arn:aws:glue:${var.region}:${var.account_id}:connection/${var.name}-*",
      local.arn.database,
      local.arn.tables,
      local.arn.group,
      "arn:aws:states:${var.region}:${var.account_id}:stateMachine:${var.name}-*",
      "arn:aws:states:${var.region}:${var.account_id}:execution:${var.name}-*",
      "arn:aws:scheduler:${var.region}:${var.account_id}:schedule-group/${var.name}",
      "arn:aws:scheduler:${var.region}:${var.account_id}:schedule/${var.name}/*",
      "arn:aws:events:${var.region}:${var.account_id}:rule/${var.name}-*",
      "arn:aws:sns:${var.region}:${var.account_id}:${var.name}-*",
      "arn:aws:sqs:${var.region}:${var.account_id}:${var.name}-*",
      "arn:aws:logs:${var.region}:${var.account_id}:log-group:/smartsensor/${var.name}/*",
      "arn:aws:logs:${var.region}:${var.account_id}:log-group:/aws/vendedlogs/states/${var.name}-*",
      "arn:aws:cloudwatch:${var.region}:${var.account_id}:alarm:${var.name}-*",
      "arn:aws:cloudwatch::${var.account_id}:dashboard/${var.name}",
      "arn:aws:secretsmanager:${var.region}:${var.account_id}:secret:${var.name}/*",
      "arn:aws:budgets::${var.account_id}:budget/${var.name}",
    ]
  }

  # It makes the secret but never reads or writes the credentials in it.
  statement {
    sid       = "NotTheCredentials"
    effect    = "Deny"
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"]
    resources = ["*"] # a denial: the wider the better
  }

  statement {
    sid = "Unnamed"
    actions = [
      "glue:CreateSecurityConfiguration", "glue:GetSecurityConfiguration", "glue:DeleteSecurityConfiguration", "glue:GetSecurityConfigurations",
      "logs:DescribeLogGroups", "logs:DescribeMetricFilters", "cloudwatch:DescribeAlarms", "cloudwatch:PutAnomalyDetector",
      "states:ValidateStateMachineDefinition", "kms:CreateKey", "kms:ListAliases", "logs:CreateLogDelivery", "logs:PutResourcePolicy",
      "logs:DescribeResourcePolicies", "sns:GetSubscriptionAttributes", "sns:Unsubscribe",
    ]
    resources = ["*"] # these actions know no resource, or name it before it has an ARN
  }

  statement {
    sid       = "Key"
    actions   = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:EnableKeyRotation", "kms:TagResource", "kms:UpdateKeyDescription", "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:CreateGrant"]
    resources = local.arn.keys

    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "kms:ResourceAliases"
      values   = [local.key_alias]
    }
  }

  statement {
    sid       = "KeyAlias"
    actions   = ["kms:CreateAlias", "kms:UpdateAlias"]
    resources = ["arn:aws:kms:${var.region}:${var.account_id}:${local.key_alias}"]
  }
}

resource "aws_iam_role" "deploy" {
  for_each = data.aws_iam_policy_document.deploy_trust

  name                 = "${var.name}-deploy"
  description          = "What the deployment workflow may do, from its GitHub environment."
  assume_role_policy   = each.value.json
  max_session_duration = 3600
}

resource "aws_iam_role_policy" "deploy" {
  for_each = aws_iam_role.deploy

  name   = "deploy"
  role   = each.value.id
  policy = data.aws_iam_policy_document.deploy.json
}
