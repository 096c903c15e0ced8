bucket = "smartsensor-terraform-123456789012"
key    = "smartsensor-dev/terraform.tfstate"
region = "eu-central-1"
