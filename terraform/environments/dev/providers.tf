provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id] # the wrong profile in the shell must not build here

  default_tags {
    tags = {
      Name        = local.name # the budget adds up what bears it
      Project     = "smartsensor"
      Environment = var.environment
      ManagedBy   = "terraform"
    }
  }
}
