//! The agent's state as the local API shows it.

use super::Agent;
use super::work::Work;
use crate::api::{NeighbourView, ReleaseView, StatusView};
use crate::mesh::MeshView;
use samara_protocol::document::Release;
use samara_protocol::geometry::PieceIndex;
use samara_protocol::id::DocumentId;
use samara_protocol::mesh::{SwarmPeer, SwarmStats};
use std::collections::BTreeMap;

impl Agent {
    /// Makes the status anew.
    pub(super) async fn show_status(&mut self) {
        let contents = self.work.values().flat_map(|w| w.blobs.iter().map(|b| b.content)).collect();
        let Some(mesh) = self.parts.mesh.view(contents).await else { return };
        let is_unheld = |(stats, peers): &(SwarmStats, Vec<SwarmPeer>)| {
            stats.have < stats.pieces && peers.iter().all(|peer| peer.have == 0)
        };
        let unheld = mesh.swarms.iter().filter(|(_, swarm)| is_unheld(swarm));
        self.unheld = unheld.map(|(content, _)| *content).collect();
        self.look_near(&mesh).await;
        let status = StatusView {
            uptime_seconds: self.started.elapsed().as_secs(),
            neighbours: mesh.neighbours.iter().map(|&peer| NeighbourView { peer }).collect(),
            releases: self.release_views(&mesh),
            store: self.store_view.clone(),
            alarms: mesh.alarms,
            explanation: self.explain(),
            ..StatusView::starting(self.parts.device, self.parts.site)
        };
        self.parts.status.send_replace(status);
    }

    fn release_views(&self, mesh: &MeshView) -> Vec<ReleaseView> {
        let mut views: Vec<_> = self.work.values().filter_map(|work| self.view_of(work, mesh)).collect();
        for id in self.aside.keys().filter(|id| !self.work.contains_key(id)) {
            views.extend(self.documents.releases.get(id).and_then(|release| self.bare_view_of(id, release)));
        }
        views
    }

    /// A release of which nothing is fetched.
    fn bare_view_of(&self, id: &DocumentId, release: &Release) -> Option<ReleaseView> {
        let standing = self.standing(id)?;
        Some(ReleaseView {
            id: *id,
            product: release.product.clone(),
            channel: release.channel.clone(),
            version: release.version.clone(),
            number: release.number,
            state: standing.state,
            reason: standing.reason,
            bytes_have: 0,
            bytes_total: release.bytes_total(),
            sources: BTreeMap::new(),
            duplicate_bytes: 0,
        })
    }

    fn view_of(&self, work: &Work, mesh: &MeshView) -> Option<ReleaseView> {
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
        let bytes_total = work.blobs.iter().map(|b| b.size).sum();
        let bare = self.bare_view_of(&work.subject.id, &work.subject.release)?;
        Some(ReleaseView { bytes_have, bytes_total, sources, duplicate_bytes, ..bare })
    }
}
