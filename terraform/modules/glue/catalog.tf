# Tables over the lake's folders. Partitions are projected from dates: no crawler, and a new day is there at once.
locals {
  tables    = jsondecode(file("${path.module}/tables.json")) # made from nbs/05_resources.ipynb by tests/rehearse/catalog.py
  zone_home = { raw = "raw", qualified = "qualified", quarantine = "qualified" }
}

resource "aws_glue_catalog_database" "this" {
  name        = replace(var.name, "-", "_")
  description = "The lake of ${var.name}: raw as it came, qualified as it is trusted, quarantine with reasons."
}

resource "aws_glue_catalog_table" "this" {
  for_each = local.tables

  name          = each.key
  database_name = aws_glue_catalog_database.this.name
  description   = "${each.value.resource} in ${each.value.zone}"
  table_type    = "EXTERNAL_TABLE"

  parameters = merge(
    { EXTERNAL = "TRUE", classification = "parquet" },
    each.value.partition == null ? {} : {
      "projection.enabled"                               = "true"
      "projection.${each.value.partition}.type"          = "date"
      "projection.${each.value.partition}.format"        = "yyyy-MM-dd"
      "projection.${each.value.partition}.range"         = "2020-01-01,NOW+1DAYS"
      "projection.${each.value.partition}.interval"      = "1"
      "projection.${each.value.partition}.interval.unit" = "DAYS"
      "storage.location.template"                        = "s3://${var.bucket_names[local.zone_home[each.value.zone]]}/${each.value.zone}/${each.value.resource}/${each.value.partition}=$${${each.value.partition}}/"
    },
  )

  dynamic "partition_keys" {
    for_each = each.value.partition == null ? [] : [each.value.partition]

    content {
      name = partition_keys.value
      type = "string"
    }
  }

  storage_descriptor {
    location      = "s3://${var.bucket_names[local.zone_home[each.value.zone]]}/${each.value.zone}/${each.value.resource}/"
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
