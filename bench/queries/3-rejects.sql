SELECT date_trunc('hour', event_time) AS hour, outcome, count(*) AS n FROM shares GROUP BY 1, 2 ORDER BY 1, 2
