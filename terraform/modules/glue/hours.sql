-- The last week of qualified measurements: readings, range and mean of each hour, by plant and type.
SELECT
    plant_id,
    measurement_type_id,
    date_trunc('hour', measured_at) AS hour,
    count(*) AS readings,
    count(DISTINCT sensor_id) AS sensors,
    min(value) AS lowest,
    avg(value) AS mean,
    max(value) AS highest
FROM measurements
WHERE measured_at >= current_timestamp - INTERVAL '7' DAY
GROUP BY plant_id, measurement_type_id, date_trunc('hour', measured_at)
ORDER BY hour, plant_id, measurement_type_id
