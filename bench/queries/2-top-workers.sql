SELECT miner, worker, sum(difficulty) AS work_hashes FROM shares WHERE outcome = 'accepted' GROUP BY miner, worker ORDER BY work_hashes DESC, worker LIMIT 20
