# Each environment links to this file; its bucket and key come from its backend.hcl:
#   terraform init -backend-config=backend.hcl
terraform {
  backend "s3" {
    encrypt      = true
    use_lockfile = true # S3's own conditional writes: no lock table
  }
}
