//! The tasks of a process: pipelines, followers, maintenance, payments, the HTTP server, the pool.

use std::sync::Arc;

use anyhow::Context as _;
use headframe_coopmine::coordinator::Coordinator;
use headframe_pipelines::{Context, pipeline, user_pipeline};
use headframe_query_front::BoundServer;
use headframe_query_front::access::accounts::Accounts;
use headframe_query_front::access::process_accounts::ProcessAccounts;
use headframe_query_front::request_log::RequestLog;
use headframe_schemas::{Table, table};
use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{Lake, SinkError};
use headframe_stratum::Spooler;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Role;
use crate::service::accounts::{RegistryStore, write_notes};
use crate::service::components::Components;
use crate::service::faults::TaskKind;
use crate::service::follower::Follower;
use crate::service::local_stream::LocalStream;
use crate::service::{Service, payer, request_log};

impl Service {
    /// Starts what polls devices, reads streams and writes tables, as far as the roles of this
    /// process want it.
    pub(super) fn spawn_workers(&mut self, components: &Components) -> anyhow::Result<()> {
        self.spawn_sources(components)?;
        let Some((lake, streams)) = &components.tables else {
            return Ok(());
        };
        if components.runs(Role::Pipelines) {
            self.spawn_pipelines(components, lake, streams);
        } else if components.runs(Role::Query) {
            self.spawn_followers(components, lake, streams);
        }
        if components.runs(Role::Maintenance) {
            self.spawn_maintenance(components, lake);
        }
        if components.runs(Role::Payments) {
            let state = components.payer.clone();
            let payer = payer::open(&components.config, lake, &components.nats, state)?;
            let stop = self.stop_working.clone();
            self.tasks.spawn(async move {
                payer.run(stop).await;
                Ok(())
            });
        }
        Ok(())
    }

    fn spawn_pipelines(&mut self, components: &Components, lake: &Lake, streams: &[LocalStream]) {
        let context = Context {
            nats: components.nats.clone(),
            lake: lake.clone(),
            config: components.config.pipelines.clone(),
            anomalies: components.config.anomalies.clone(),
            settings: components.config.streams.clone(),
            keys: components.config.data_dir.join("keys"),
        };
        self.spawn_user_pipelines(components, &context, streams);
        for local in streams {
            let stream = local.handle.stream;
            for pipeline in pipeline::ALL
                .iter()
                .filter(|pipeline| pipeline.takes(stream))
            {
                let kind = TaskKind::Pipeline(pipeline.name());
                let (faults, stop) = (components.faults.clone(), self.stop_working.clone());
                let running = pipeline.run(context.clone(), local.handle.clone(), stop.clone());
                self.tasks.spawn(async move {
                    if let Err(fault) = running.await
                        && !fault.is_shutdown()
                    {
                        faults.record(kind, stream.name(), &fault.to_string());
                        // The other pipelines go on; readiness names this one until an operator
                        // has decided.
                        stop.cancelled().await;
                    }
                    Ok(())
                });
            }
        }
    }

    /// Starts the pipelines of the user's own, none of which can stop anything else.
    fn spawn_user_pipelines(
        &mut self,
        components: &Components,
        context: &Context,
        streams: &[LocalStream],
    ) {
        for pipeline in &components.user_pipelines {
            let name = pipeline.input();
            let Some(local) = streams
                .iter()
                .find(|local| local.handle.stream.name() == name)
            else {
                continue;
            };
            let kind = TaskKind::Pipeline(pipeline.name);
            let (faults, stop) = (components.faults.clone(), self.stop_working.clone());
            let (pipeline, context) = (pipeline.clone(), context.clone());
            let running = user_pipeline::run(pipeline, context, local.handle.clone(), stop.clone());
            self.tasks.spawn(async move {
                // A task of its own, so that a panic in the engine ends it alone.
                let mut alone = JoinSet::new();
                alone.spawn(running);
                let reason = match alone.join_next().await {
                    None | Some(Ok(Ok(()))) => None,
                    Some(Ok(Err(fault))) => (!fault.is_shutdown()).then(|| fault.to_string()),
                    Some(Err(error)) => Some(error.to_string()),
                };
                if let Some(reason) = reason {
                    faults.record(kind, name, &reason);
                    stop.cancelled().await;
                }
                Ok(())
            });
        }
    }

    fn spawn_followers(&mut self, components: &Components, lake: &Lake, streams: &[LocalStream]) {
        for local in streams {
            let follower = Follower {
                nats: components.nats.clone(),
                lake: lake.clone(),
                handle: local.handle.clone(),
                acknowledged: local.acknowledged.clone(),
                faults: components.faults.clone(),
            };
            let stop = self.stop_working.clone();
            self.tasks.spawn(async move {
                follower.run(stop).await;
                Ok(())
            });
        }
    }

    fn spawn_maintenance(&mut self, components: &Components, lake: &Lake) {
        let of_users = components.user_pipelines.iter();
        let of_users = of_users.map(|pipeline| pipeline.table.table());
        for table in table::all().into_iter().chain(of_users) {
            let (lake, faults) = (lake.clone(), components.faults.clone());
            let stop = self.stop_working.clone();
            let config = components.config.maintenance.of_table(&table.config_name);
            self.tasks.spawn(async move {
                let name = table.name.clone();
                if let Err(error) = maintain(&lake, table, config, &stop).await {
                    faults.record(TaskKind::Maintenance, &name, &error.to_string());
                    stop.cancelled().await;
                }
                Ok(())
            });
        }
    }

    /// Reads users and tokens, and follows their changes.
    pub(super) async fn open_accounts(
        &mut self,
        components: &Components,
    ) -> anyhow::Result<Accounts> {
        let (publisher, replicas) = (
            components.publisher.clone(),
            components.config.streams.replicas,
        );
        let (store, notes) =
            RegistryStore::open(&components.nats, publisher.clone(), replicas).await?;
        let (accounts, follower) = Accounts::open(Arc::new(store)).await?;
        let stop = self.stop_working.clone();
        self.tasks.spawn(async move {
            let follow = async { tokio::join!(follower.run(), write_notes(publisher, notes)) };
            tokio::select! {
                _ = follow => {}
                () = stop.cancelled() => {}
            }
            Ok(())
        });
        if components.runs(Role::Query) {
            self.accounts = Some(accounts.clone());
        }
        Ok(accounts)
    }

    /// Starts writing the requests that are noted in what it answers.
    pub(super) fn start_request_log(&mut self, components: &Components) -> RequestLog {
        let log = RequestLog::default();
        let (publisher, stop) = (components.publisher.clone(), self.stop_working.clone());
        let writing = request_log::write(log.clone(), publisher, stop);
        self.tasks.spawn(async move {
            writing.await;
            Ok(())
        });
        log
    }

    /// Starts answering requests.
    pub(super) fn spawn_http(&mut self, http: BoundServer) {
        let stop = self.stop_accepting.clone();
        self.tasks
            .spawn(async move { http.run(stop).await.context("the HTTP server stopped") });
    }

    /// Starts taking in miners.
    pub(super) fn spawn_pool(&mut self, pool: headframe_stratum::BoundPool, spooler: Spooler) {
        let stop = self.stop_accepting.clone();
        self.tasks.spawn(async move {
            // The spooler ends when the pool has let go of it, with every row answered.
            tokio::join!(pool.run(stop), spooler.run());
            Ok(())
        });
    }

    /// Starts taking in workers of a CoopMine cluster, where this process runs its coordinator,
    /// whose pages and routes know the accounts of this process.
    pub(super) fn spawn_coordinator(
        &mut self,
        coordinator: Option<Coordinator>,
        accounts: Arc<dyn ProcessAccounts>,
    ) {
        let Some(coordinator) = coordinator else {
            return;
        };
        let coordinator = coordinator.with_accounts(accounts);
        let stop = self.stop_accepting.clone();
        self.tasks.spawn(async move {
            let ended = coordinator.run(stop).await;
            ended.context("the CoopMine coordinator stopped")
        });
    }
}

/// Owns the upkeep of a table as soon as no other process does, until shutdown.
async fn maintain(
    lake: &Lake,
    table: Table,
    config: MaintenanceConfig,
    stop: &CancellationToken,
) -> Result<(), SinkError> {
    loop {
        match Maintenance::open(lake, table.clone(), config.clone()).await {
            Ok(Some(owner)) => return owner.run(stop.clone()).await,
            Ok(None) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!(table = %table.name, %error, "upkeep cannot begin, trying again")
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(config.every) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}
