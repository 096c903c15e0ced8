variable "bucket_names" {
  description = "Name of the bucket of each zone: raw, qualified (with quarantine), state (with runs), artifacts, docs."
  type        = map(string)

  validation {
    condition     = toset(keys(var.bucket_names)) == toset(["raw", "qualified", "state", "artifacts", "docs"])
    error_message = "There is one bucket each for raw, qualified, state, artifacts and docs."
  }
}

variable "bucket_policies" {
  description = "Policy of each zone's bucket, JSON, from the module iam."
  type        = map(string)
}

variable "kms_key_arn" {
  description = "Key that objects are encrypted with; null for S3's own keys."
  type        = string
  default     = null
}

variable "retention_days" {
  description = "Days after which objects expire, by kind. Raw is what a replay reads; queries are results of Athena. Files of qualified and quarantine are Iceberg's."
  type = object({
    raw     = number
    runs    = number
    docs    = number
    queries = number
  })
}

variable "force_destroy" {
  description = "Whether destroy may remove buckets that still hold objects. For throw-away environments only."
  type        = bool
  default     = false
}
