//! The agent's state as the local API shows it.

use super::Agent;
use super::fetch::Phase;
use crate::api::{NeighbourView, ReleaseView, StatusView};
use crate::mesh::MeshView;
use samara_protocol::geometry::PieceIndex;
use std::collections::BTreeMap;

impl Agent {
    /// Makes the status anew.
    pub(super) async fn show_status(&mut self) {
        let contents = self.work.values().flat_map(|w| w.blobs.iter().map(|b| b.content)).collect();
        let Some(mesh) = self.parts.mesh.view(contents).await else { return };
        let status = StatusView {
            uptime_seconds: self.started.elapsed().as_secs(),
            neighbours: mesh.neighbours.iter().map(|&peer| NeighbourView { peer }).collect(),
            releases: self.release_views(&mesh),
            alarms: mesh.alarms,
            ..StatusView::starting(self.parts.device, self.parts.site)
        };
        self.parts.status.send_replace(status);
    }

    fn release_views(&self, mesh: &MeshView) -> Vec<ReleaseView> {
        let mut views: Vec<_> = self.work.values().map(|work| self.view_of(work, mesh)).collect();
        for (id, why) in self.aside.iter().filter(|(id, _)| !self.work.contains_key(id)) {
            let Some(release) = self.documents.releases.get(id) else { continue };
            views.push(ReleaseView {
                id: *id,
                product: release.product.clone(),
                version: release.version.clone(),
                number: release.number,
                state: if why.starts_with("withdrawn") { "withdrawn" } else { "waiting" }.into(),
                reason: why.clone(),
                bytes_have: 0,
                bytes_total: release.bytes_total(),
                sources: BTreeMap::new(),
                duplicate_bytes: 0,
            });
        }
        views
    }

    fn view_of(&self, work: &super::fetch::Work, mesh: &MeshView) -> ReleaseView {
        let (state, reason) = match &work.phase {
            Phase::Downloading => ("downloading", String::new()),
            Phase::NoSpace(why) => ("no_space", why.clone()),
            Phase::Verified | Phase::Installing => ("verified", String::new()),
            Phase::Installed => ("installed", String::new()),
            Phase::Failed { why, tries, .. } => ("failed", format!("{why} (try {tries})")),
        };
        let mut sources = BTreeMap::new();
        let (mut bytes_have, mut duplicate_bytes) = (0, 0);
        for blob in &work.blobs {
            let Some((stats, _)) = mesh.swarms.get(&blob.content) else { continue };
            duplicate_bytes += stats.duplicate_bytes;
            for (peer, bytes) in &stats.received {
                *sources.entry(*peer).or_default() += bytes;
            }
            bytes_have += match blob.geometry() {
                Ok(_) if stats.have == stats.pieces => blob.size,
                Ok(geometry) => u64::from(stats.have) * geometry.piece_len(PieceIndex(0)),
                Err(_) => 0,
            };
        }
        ReleaseView {
            id: work.release.id(),
            product: work.release.product.clone(),
            version: work.release.version.clone(),
            number: work.release.number,
            state: state.into(),
            reason,
            bytes_have,
            bytes_total: work.blobs.iter().map(|b| b.size).sum(),
            sources,
            duplicate_bytes,
        }
    }
}
