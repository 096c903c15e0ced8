variable "name" {
  description = "Prefix of all names: project and environment. Everything that the roles may touch is named by it."
  type        = string
}

variable "account_id" {
  description = "Account that all of it stands in."
  type        = string
}

variable "region" {
  description = "Region that all of it stands in."
  type        = string
}

variable "bucket_names" {
  description = "Name of the bucket of each zone: raw, qualified, state, artifacts, docs."
  type        = map(string)
}

variable "database" {
  description = "Database of the catalog: promotion makes its Iceberg tables there."
  type        = string
}

variable "github" {
  description = "Who may deploy: repository (OWNER/NAME), its GitHub environment, and the account's OIDC provider for GitHub Actions. Null where nobody may."
  type = object({
    repository        = string
    environment       = string
    oidc_provider_arn = string
  })
  default = null
}

variable "state_bucket_arn" {
  description = "ARN of the bucket of Terraform's own state, which the deployment reads and writes."
  type        = string
}

variable "vpc" {
  description = "Whether the jobs run in a VPC: they then make network interfaces."
  type        = bool
  default     = false
}
