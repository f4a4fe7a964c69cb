SELECT miner, count(*) AS n, sum(difficulty) AS work_hashes FROM shares GROUP BY miner ORDER BY miner
