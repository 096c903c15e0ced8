# All policies of the project. ARNs are put together from names, so that roles and policies stand before what uses them
# and no module waits for another in a circle.

locals {
  jobs  = ["check", "extract", "promote"]
  roles = concat(local.jobs, ["machine", "scheduler", "optimizer"]) # all but the deployment's

  arn = {
    jobs     = { for job in local.jobs : job => "arn:aws:glue:${var.region}:${var.account_id}:job/${var.name}-${job}" }
    machine  = "arn:aws:states:${var.region}:${var.account_id}:stateMachine:${var.name}-pipeline"
    topic    = "arn:aws:sns:${var.region}:${var.account_id}:${var.name}-alarms"
    queue    = "arn:aws:sqs:${var.region}:${var.account_id}:${var.name}-undelivered"
    secret   = "arn:aws:secretsmanager:${var.region}:${var.account_id}:secret:${var.name}/api-??????" # Secrets Manager adds six characters
    keys     = ["arn:aws:kms:${var.region}:${var.account_id}:key/*"]                                  # bounded by the alias, which is known before the key is made
    catalog  = "arn:aws:glue:${var.region}:${var.account_id}:catalog"
    database = "arn:aws:glue:${var.region}:${var.account_id}:database/${var.database}"
    tables   = "arn:aws:glue:${var.region}:${var.account_id}:table/${var.database}/*"
    group    = "arn:aws:athena:${var.region}:${var.account_id}:workgroup/${var.name}"
    job_logs = "arn:aws:logs:${var.region}:${var.account_id}:log-group:/smartsensor/${var.name}/*"
  }

  key_alias = "alias/${var.name}"

  buckets = { for zone, name in var.bucket_names : zone => "arn:aws:s3:::${name}" }
}

data "aws_iam_policy_document" "trust" {
  for_each = { jobs = "glue", optimizer = "glue", machine = "states", scheduler = "scheduler" }

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["${each.value}.amazonaws.com"]
    }

    # A service acts for this account only, not for another that knows the role's name.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}
