# Raw as external tables: partitions are projected from dates, no crawler, and a new day is there at once. Qualified and
# quarantine are Iceberg tables beside them: the promote job makes them in this database by its first commit, columns and all.
locals {
  own_tables = "${path.module}/tables.json" # made from nbs/source/013_resources.ipynb by tests/rehearse/catalog.py
  raw_tables = var.project.raw_tables != null ? var.project.raw_tables : var.project.source == "" ? local.own_tables : null
  tables     = local.raw_tables == null ? {} : jsondecode(file(local.raw_tables))
}

resource "aws_glue_catalog_database" "this" {
  name        = var.database
  description = "The lake of ${var.name}: raw as it came, qualified as it is trusted, quarantine with reasons."
}

resource "aws_glue_catalog_table" "this" {
  for_each = local.tables

  name          = each.key
  database_name = aws_glue_catalog_database.this.name
  description   = "${each.value.resource} in raw"
  table_type    = "EXTERNAL_TABLE"

  parameters = {
    EXTERNAL                               = "TRUE"
    classification                         = "parquet"
    "projection.enabled"                   = "true"
    "projection.ingest_date.type"          = "date"
    "projection.ingest_date.format"        = "yyyy-MM-dd"
    "projection.ingest_date.range"         = "2020-01-01,NOW+1DAYS"
    "projection.ingest_date.interval"      = "1"
    "projection.ingest_date.interval.unit" = "DAYS"
    "storage.location.template"            = "s3://${var.bucket_names.raw}/raw/${each.value.resource}/ingest_date=$${ingest_date}/"
  }

  partition_keys {
    name = "ingest_date"
    type = "string"
  }

  storage_descriptor {
    location      = "s3://${var.bucket_names.raw}/raw/${each.value.resource}/"
    input_format  = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"

    ser_de_info {
      serialization_library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    }

    dynamic "columns" {
      for_each = each.value.columns

      content {
        name = columns.value.name
        type = columns.value.type
      }
    }
  }
}

# AWS tends the Iceberg tables that are there: it merges small files, expires old snapshots, removes what nothing refers to.
resource "aws_glue_catalog_table_optimizer" "this" {
  for_each = {
    for pair in setproduct(var.optimized_tables, ["compaction", "retention", "orphan_file_deletion"]) :
    "${pair[0]}.${pair[1]}" => { table = pair[0], type = pair[1] }
  }

  catalog_id    = aws_glue_catalog_database.this.catalog_id
  database_name = aws_glue_catalog_database.this.name
  table_name    = each.value.table
  type          = each.value.type

  configuration {
    enabled  = true
    role_arn = var.role_arns["optimizer"]

    # A snapshot carries what it was made from (run, ledger version): promotion reads it from the newest one that has it.
    dynamic "retention_configuration" {
      for_each = each.value.type == "retention" ? [1] : []

      content {
        iceberg_configuration {
          snapshot_retention_period_in_days = 30
          number_of_snapshots_to_retain     = 10
          clean_expired_files               = true
        }
      }
    }

    # A promotion stages files before the commit that names them: until then they look like orphans. No job lives for days.
    dynamic "orphan_file_deletion_configuration" {
      for_each = each.value.type == "orphan_file_deletion" ? [1] : []

      content {
        iceberg_configuration {
          orphan_file_retention_period_in_days = 7
        }
      }
    }
  }
}
