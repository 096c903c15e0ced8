mock_provider "aws" {}

variables {
  name                = "smartsensor-dev"
  role_arn            = "arn:aws:iam::123456789012:role/machine"
  job_names           = { check = "x-check", extract = "x-extract", promote = "x-promote" }
  job_timeout_minutes = { check = 10, extract = 60, promote = 60 }
  state_bucket        = "b-state-1"
  topic_arn           = "arn:aws:sns:eu-central-1:123456789012:x-alarms"
  lanes               = { master = ["plants", "assets"], measurements = ["measurements"] }
  lanes_at_once       = 2
  kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/1"
  log_retention_days  = 30
}

run "the_machine_is_whole" {
  command = plan

  assert {
    condition     = contains(keys(jsondecode(output.definition).States), jsondecode(output.definition).StartAt)
    error_message = "It starts at a state that exists."
  }

  assert {
    condition = alltrue([for name, state in jsondecode(output.definition).States :
    try(contains(keys(jsondecode(output.definition).States), state.Next), true)])
    error_message = "Every Next names a state."
  }

  assert {
    condition     = alltrue([for name, state in jsondecode(output.definition).States : can(state.TimeoutSeconds) if state.Type == "Task"]) && can(jsondecode(output.definition).TimeoutSeconds)
    error_message = "Everything that waits has a timeout."
  }

  assert {
    condition     = jsondecode(output.definition).States["Each lane"].MaxConcurrency == 2
    error_message = "Lanes are bounded."
  }

  assert {
    condition     = length(jsondecode(output.definition).States["Find due lanes"].Parameters.all) == 2
    error_message = "A branch for each lane."
  }
}

run "retries_are_for_infrastructure_with_jitter" {
  command = plan

  assert {
    condition = alltrue(flatten([for state in merge(jsondecode(output.definition).States, jsondecode(output.definition).States["Each lane"].ItemProcessor.States) :
      [for retry in try(state.Retry, []) : retry.JitterStrategy == "FULL" && (!strcontains(try(state.Resource, ""), "glue:") || !contains(retry.ErrorEquals, "States.TaskFailed") && !contains(retry.ErrorEquals, "States.ALL"))]
    ]))
    error_message = "A job that failed is not tried again; every retry has jitter."
  }

  assert {
    condition = alltrue([for state in merge(jsondecode(output.definition).States, jsondecode(output.definition).States["Each lane"].ItemProcessor.States) :
    can(state.Catch) if strcontains(try(state.Resource, ""), "glue:")])
    error_message = "Every job's failure is caught and told."
  }
}
