bucket = "smartsensor-terraform-210987654321"
key    = "smartsensor-prod/terraform.tfstate"
region = "eu-central-1"
