# The real provider, without network: a mocked one would mock the policies too.
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "nobody"
  secret_key                  = "nothing"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

variables {
  name             = "smartsensor-dev"
  account_id       = "123456789012"
  region           = "eu-central-1"
  database         = "smartsensor_dev"
  bucket_names     = { raw = "b-raw-1", qualified = "b-qualified-1", state = "b-state-1", artifacts = "b-artifacts-1", docs = "b-docs-1" }
  state_bucket_arn = "arn:aws:s3:::terraform"
  github           = { repository = "example/smartsensor", environment = "dev", oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
}

run "no_star_for_what_has_a_name" {
  command = plan

  assert {
    condition = alltrue(flatten([for text in values(output.job_policies) : [for one in jsondecode(text).Statement :
    one.Resource != "*" || one.Sid == "WriteMetrics"]]))
    error_message = "Only CloudWatch's metrics, bounded by namespace, may have the resource *."
  }

  assert {
    condition     = alltrue(flatten([for text in values(output.job_policies) : [for one in jsondecode(text).Statement : alltrue([for action in flatten([one.Action]) : !strcontains(action, "*")])]]))
    error_message = "Jobs are given actions by name."
  }
}

run "who_may_write_where" {
  command = plan

  assert {
    condition = toset(flatten([for one in jsondecode(output.job_policies["check"]).Statement : one.Resource if one.Sid == "WriteObjects"])) == toset([
    "arn:aws:s3:::b-state-1/runs/*", "arn:aws:s3:::b-state-1/state/budget/*", "arn:aws:s3:::b-state-1/spark/*"])
    error_message = "The check writes records, and its note in the budget."
  }

  assert {
    condition = alltrue([for one in jsondecode(output.job_policies["extract"]).Statement :
    alltrue([for arn in flatten([one.Resource]) : !strcontains(arn, "b-qualified-1") && !strcontains(arn, "b-docs-1")])])
    error_message = "Extraction has no way to what is published."
  }

  assert {
    condition = alltrue([for one in jsondecode(output.job_policies["promote"]).Statement :
    alltrue([for arn in flatten([one.Resource]) : !strcontains(arn, "b-raw-1")]) if contains(["WriteObjects", "DeleteObjects"], one.Sid)])
    error_message = "Promotion reads raw and never changes it."
  }

  assert {
    condition = alltrue(flatten([for text in values(output.job_policies) : [for one in jsondecode(text).Statement :
    alltrue([for arn in flatten([one.Resource]) : !strcontains(arn, "b-state-1/state/") || endswith(arn, "/state/budget/*") || endswith(arn, "/state/exports/*")]) if one.Sid == "DeleteObjects"]]))
    error_message = "No job removes a ledger or a publication."
  }
}

run "tables_are_committed_by_promotion_only" {
  command = plan

  assert {
    condition = alltrue([for job in ["check", "extract"] : alltrue([for one in jsondecode(output.job_policies[job]).Statement :
    alltrue([for action in flatten([one.Action]) : !startswith(action, "glue:")])])])
    error_message = "Check and extraction have no business in the catalog."
  }

  assert {
    condition = jsonencode([for one in jsondecode(output.job_policies["promote"]).Statement : [sort(one.Action), sort(one.Resource)] if one.Sid == "CommitTables"]) == jsonencode([[
      ["glue:CreateTable", "glue:GetDatabase", "glue:GetTable", "glue:UpdateTable"],
      ["arn:aws:glue:eu-central-1:123456789012:catalog", "arn:aws:glue:eu-central-1:123456789012:database/smartsensor_dev", "arn:aws:glue:eu-central-1:123456789012:table/smartsensor_dev/*"],
    ]])
    error_message = "Promotion makes and commits tables of this database; it drops none."
  }

  assert {
    condition = toset(flatten([for one in jsondecode(data.aws_iam_policy_document.optimizer.json).Statement : one.Resource if one.Sid == "TendFiles"])) == toset([
    "arn:aws:s3:::b-qualified-1/qualified/*", "arn:aws:s3:::b-qualified-1/quarantine/*"])
    error_message = "Optimizers tend the files of Iceberg tables, and no others."
  }

  assert {
    condition = alltrue(flatten([for one in jsondecode(data.aws_iam_policy_document.reader.json).Statement : [for action in flatten([one.Action]) :
      can(regex(":(Get|List|BatchGet)|athena:(Start|Stop)QueryExecution|kms:", action)) || one.Resource == "arn:aws:s3:::b-state-1/athena/*"
    ]]))
    error_message = "Readers change nothing but the results of their queries."
  }
}

run "buckets_take_tls_only_and_state_is_created_only" {
  command = plan

  assert {
    condition = alltrue([for text in values(output.bucket_policies) : contains([for one in jsondecode(text).Statement :
    "${one.Effect} ${one.Sid} ${jsonencode(try(one.Condition, null))}"], "Deny TlsOnly {\"Bool\":{\"aws:SecureTransport\":\"false\"}}")])
    error_message = "What does not come by TLS is denied, in each bucket."
  }

  assert {
    condition = contains([for one in jsondecode(output.bucket_policies["state"]).Statement : jsonencode([one.Effect, one.Action, one.Resource, try(one.Condition, null)]) if one.Sid == "StateIsCreatedOnly"],
    jsonencode(["Deny", "s3:PutObject", "arn:aws:s3:::b-state-1/state/*/????????.json", { Null = { "s3:if-none-match" = "true" } }]))
    error_message = "A version of state is put with If-None-Match or not at all."
  }
}

run "roles_are_bounded_and_trust_one_service" {
  command = plan

  assert {
    condition     = alltrue([for role in merge(aws_iam_role.job, aws_iam_role.service) : can(jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"])])
    error_message = "A service acts for this account only."
  }

  assert {
    condition     = jsondecode(aws_iam_role.deploy["github"].assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] == "repo:example/smartsensor:environment:dev"
    error_message = "Only this repository's jobs in this GitHub environment may deploy."
  }

  assert {
    condition = alltrue([for one in jsondecode(data.aws_iam_policy_document.deploy.json).Statement :
    try(one.Condition.StringEquals["iam:PermissionsBoundary"], "") == "arn:aws:iam::123456789012:policy/smartsensor-dev-boundary" if one.Sid == "Roles"])
    error_message = "The deployment makes roles within the boundary only."
  }

  assert {
    condition = alltrue([for one in jsondecode(data.aws_iam_policy_document.deploy.json).Statement :
    alltrue([for arn in flatten([one.Resource]) : startswith(arn, "arn:aws:iam::123456789012:role/smartsensor-dev-")]) if contains(flatten([one.Action]), "iam:PassRole")])
    error_message = "Only this project's roles may be passed."
  }
}

run "nobody_deploys_without_github" {
  command = plan

  variables {
    github = null
  }

  assert {
    condition     = output.deploy_role_arn == null && length(aws_iam_role.deploy) == 0
    error_message = "No repository, no role."
  }
}
