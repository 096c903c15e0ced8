# The state machine, the scheduler, and what services may do to our key, topic and queue.

data "aws_iam_policy_document" "machine" {
  statement {
    sid       = "RunJobs"
    actions   = ["glue:StartJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun"]
    resources = values(local.arn.jobs)
  }

  statement {
    sid       = "ReadTheCheck"
    actions   = ["s3:GetObject"]
    resources = ["${local.buckets.state}/runs/*/check.json"]
  }

  statement {
    sid       = "LookForOtherRuns"
    actions   = ["states:ListExecutions"]
    resources = [local.arn.machine]
  }

  statement {
    sid       = "Notify"
    actions   = ["sns:Publish"]
    resources = [local.arn.topic]
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
    sid = "DeliverLogs"
    actions = [
      "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries",
      "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
    ]
    resources = ["*"] # CloudWatch's log delivery knows no resource; these are the actions that Step Functions asks for
  }

  statement {
    sid       = "Trace"
    actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"]
    resources = ["*"] # X-Ray knows no resource
  }
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    sid       = "StartRuns"
    actions   = ["states:StartExecution"]
    resources = [local.arn.machine]
  }

  statement {
    sid       = "KeepUndelivered"
    actions   = ["sqs:SendMessage"]
    resources = [local.arn.queue]
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

resource "aws_iam_role" "service" {
  for_each = {
    machine   = "What the state machine of ${var.name} may do."
    scheduler = "What the schedules of ${var.name} may do."
    optimizer = "What AWS may do to tend the Iceberg tables of ${var.name}."
  }

  name                 = "${var.name}-${each.key}"
  description          = each.value
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_role_policy" "service" {
  for_each = {
    machine   = data.aws_iam_policy_document.machine.json
    scheduler = data.aws_iam_policy_document.scheduler.json
    optimizer = data.aws_iam_policy_document.optimizer.json
  }

  name   = "service"
  role   = aws_iam_role.service[each.key].id
  policy = each.value
}

# --- the key ---

data "aws_iam_policy_document" "key" {
  # checkov:skip=CKV_AWS_109:The account's root may manage the key, or nobody could mend its policy.
  # checkov:skip=CKV_AWS_111:See above; in a key's policy the resource "*" is the key itself.
  # checkov:skip=CKV_AWS_356:See above.
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"] # the key itself; without this, roles could not be given the key by their own policies

    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${var.account_id}:root"]
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"] # the key itself

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:aws:logs:${var.region}:${var.account_id}:log-group:*"]
    }
  }

  # Who publishes to the encrypted topic, or sends to the encrypted queue. No condition: EventBridge sends no source with it.
  statement {
    sid       = "Messages"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"] # the key itself

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "events.amazonaws.com", "budgets.amazonaws.com"]
    }
  }
}

resource "aws_kms_key" "this" {
  description             = "All that ${var.name} keeps: buckets, logs, credentials, messages."
  deletion_window_in_days = 30
  enable_key_rotation     = true
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "this" {
  name          = local.key_alias
  target_key_id = aws_kms_key.this.key_id
}

# --- buckets, topic, queue: made elsewhere, their policies written here ---

data "aws_iam_policy_document" "bucket" {
  for_each = local.buckets

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value, "${each.value}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # State is a numbered log: a version is made, or it is there already; none is ever replaced or removed.
  dynamic "statement" {
    for_each = each.key == "state" ? [1] : []

    content {
      sid       = "StateIsCreatedOnly"
      effect    = "Deny"
      actions   = ["s3:PutObject"]
      resources = ["${each.value}/state/*/????????.json"] # a version; leases of running jobs are renewed in place

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "Null"
        variable = "s3:if-none-match"
        values   = ["true"]
      }
    }
  }

  dynamic "statement" {
    for_each = each.key == "state" ? [1] : []

    content {
      sid     = "StateStays"
      effect  = "Deny"
      actions = ["s3:DeleteObject"]
      # Notes of who shares the API's rate, and logs of exports, go when they are over.
      not_resources = [for prefix in ["state/budget/*", "state/exports/*", "spark/*"] : "${each.value}/${prefix}"]

      principals {
        type        = "AWS"
        identifiers = [for job in local.jobs : "arn:aws:iam::${var.account_id}:role/${var.name}-${job}"]
      }
    }
  }
}

data "aws_iam_policy_document" "topic" {
  # EventBridge does not honour conditions in topic policies: a statement of its own.
  statement {
    sid       = "Events"
    actions   = ["sns:Publish"]
    resources = [local.arn.topic]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }

  statement {
    sid       = "Alarms"
    actions   = ["sns:Publish"]
    resources = [local.arn.topic]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "KeepUndelivered"
    actions   = ["sqs:SendMessage"]
    resources = [local.arn.queue]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}
