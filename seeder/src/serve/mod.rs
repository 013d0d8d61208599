//! Seeding: what is offered, the loop that watches it spread, and when that ends.
//!
//! ```text
//! offer   what the site directory's documents say     folder  what changes there, told to the mesh
//! source  a content where it lies                     shelf   what is served now, following the directory
//! live    what is said of the devices                 devices what is known of them
//! panel   the bars of a terminal                      rate    bytes per second
//! fate    what becomes of each release on offer   welcome whether the site takes this laptop
//! ```
//! The laptop grants each piece once (its ledger survives a restart) and is then silent unless repair is needed.

mod devices;
mod fate;
mod folder;
mod live;
mod offer;
mod panel;
mod rate;
mod shelf;
mod source;
mod welcome;

pub use live::described;
pub use offer::{Fallback, fallback, withdrawal_of};
pub use welcome::shut_out;

use crate::commands::serve::Args;
use crate::failure::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::mesh::{Join, Joined, join};
use crate::site::SiteDir;
use crate::ui::Output;
use folder::Listing;
use live::Live;
use offer::Offer;
use samara_node::mesh::{Alarm, MeshEvent};
use samara_protocol::document::Release;
use samara_protocol::id::DocumentId;
use samara_protocol::trust::{Verified, VerifiedDocument};
use samara_protocol::wire::ServeMode;
use shelf::{News, Shelf};
use std::path::Path;
use std::time::{Duration, Instant};
use welcome::Welcome;

/// How often the live view is made anew.
const VIEW_EVERY: Duration = Duration::from_millis(250);
/// How often the site directory is looked at: what another verb writes is offered about so soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs a future on a small runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Ok(runtime.map_err(|e| Failure::new(Kind::Failed, e))?.block_on(future))
}

/// Serves until interrupted, or until safe if asked.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let site = SiteDir::open(&args.join.site)?;
    let listing = Listing::take(&site)?;
    let offer = Offer::read(&site)?;
    if let Some((path, why)) = offer.refused.first_key_value() {
        return Err(Failure::trust(format!(
            "{}: {why}; restore the file, or take it out of the directory",
            path.display()
        )));
    }
    if offer.releases.is_empty() && (args.until_safe || offer.is_bare()) {
        return Err(nothing_offered(&args.join.site, &offer));
    }
    let how = Join {
        key: "operator",
        mode: ServeMode::Grant,
        copies_max: (args.max_copies * 1000.0) as u32,
        uplink_limit: args.uplink_limit.map(|rate| rate.bytes_per_second()),
    };
    let mut joined = join(&site, &site.dir().join("operator"), &args.join, how).await?;
    let bars = output.bars();
    let mut live = Live::new(output, bars.clone(), site.settings().name.clone());
    let mut shelf = Shelf::new(site, &joined, bars, listing, offer);
    let end = watch(&args, &mut joined, &mut shelf, &mut live).await;
    if let Some(news) = shelf.compare_last().await {
        live.on_news(news, &shelf);
    }
    refresh(&joined, &shelf, &mut live).await;
    live.leave();
    let left = joined.leave().await;
    end.and(left)
}

fn nothing_offered(dir: &Path, offer: &Offer) -> Failure {
    let dir = dir.display();
    if offer.set_aside.is_empty() {
        return Failure::configuration(format!(
            "{dir} offers no release; make one with: samara publish --site {dir} ARTIFACT"
        ));
    }
    let reasons = offer.set_aside.iter().map(|(path, why)| format!("{}: {}", path.display(), why.why()));
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    Failure::trust(format!("{dir} offers no release, and holds what devices do not take: {reasons}"))
}

async fn watch(args: &Args, joined: &mut Joined, shelf: &mut Shelf, live: &mut Live) -> Result<(), Failure> {
    let mut view = tokio::time::interval(VIEW_EVERY);
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut interrupt = Interrupt::new().map_err(|e| Failure::new(Kind::Failed, e))?;
    let mut is_started = false;
    let mut welcome = Welcome::of(joined.me);
    if shelf.is_empty() {
        live.say_nothing_offered();
    }
    for news in shelf.set_aside().into_iter().chain(shelf.go_on().await?) {
        live.on_news(news, shelf);
    }
    loop {
        tokio::select! {
            () = interrupt.recv() => return interrupted(args, live),
            done = shelf.done() => {
                for news in shelf.on_done(done).await? {
                    match news {
                        News::Unavailable(_, failure) if !is_started => return Err(failure),
                        news => live.on_news(news, shelf),
                    }
                }
            }
            event = joined.events.recv() => {
                let Some(event) = event else {
                    return Err(Failure::new(Kind::Failed, anyhow::anyhow!("the mesh ended unexpectedly")));
                };
                on_event(event, shelf, live, &mut welcome)?;
            }
            _ = look.tick() => {
                shelf.look();
                shelf.compare();
                shelf.check_sources().await?;
            }
            _ = view.tick() => {
                is_started |= shelf.is_settled();
                let alarms = refresh(joined, shelf, live).await;
                welcome.news(&alarms).into_iter().for_each(|alarm| live.on_alarm(alarm));
                if let Some(failure) = welcome.is_over(Instant::now()) {
                    return Err(failure);
                }
                // What was written in this very moment is waited for, too.
                if args.until_safe && shelf.is_settled() && live.is_over() && !shelf.is_behind() {
                    return over(shelf, live);
                }
            }
        }
    }
}

/// Makes the view anew; the alarms that stand.
async fn refresh(joined: &Joined, shelf: &Shelf, live: &mut Live) -> Vec<Alarm> {
    let contents = shelf.blobs().iter().map(|blob| blob.content).collect();
    let Some(view) = joined.mesh.view(contents).await else { return Vec::new() };
    live.on_view(&view, shelf);
    view.alarms
}

fn on_event(
    event: MeshEvent,
    shelf: &mut Shelf,
    live: &mut Live,
    welcome: &mut Welcome,
) -> Result<(), Failure> {
    match event {
        MeshEvent::SourceChanged { content, why } => {
            // Of one that is not served any more nothing is said.
            if let Some(source) = shelf.source(content) {
                return Err(source.changed(&why));
            }
        }
        MeshEvent::Listening(address) => live.on_listening(&address),
        MeshEvent::Neighbour { peer, connected } => live.on_neighbour(peer, connected),
        MeshEvent::Document(document) => {
            match &*document {
                VerifiedDocument::TrustRoot(root) => {
                    welcome.on_trust_root(root, Instant::now());
                    live.on_trust_root(root);
                }
                VerifiedDocument::Enrollment(enrollment) => live.on_enrollment(enrollment),
                VerifiedDocument::Report(report) => live.on_report(report),
                _ => {}
            }
            shelf.saw(*document);
        }
        // Every view says whether it is safe.
        MeshEvent::SafeToLeave(_) => {}
        MeshEvent::DocumentDropped(_)
        | MeshEvent::Restored
        | MeshEvent::Complete(_)
        | MeshEvent::NoSpace(_)
        | MeshEvent::Damaged(_) => {}
    }
    Ok(())
}

/// Who asked for `--until-safe` goes on with something else when that is true of all that was published, and only then.
fn over(shelf: &Shelf, live: &Live) -> Result<(), Failure> {
    if let Some(why) = live.unsuited() {
        return Err(Failure::new(Kind::Unsuited, anyhow::anyhow!("{why}")));
    }
    if shelf.lacks_some() {
        return Err(Failure::new(
            Kind::Storage,
            anyhow::anyhow!("the site holds what was served, but a release could not be served; see above"),
        ));
    }
    Ok(())
}

fn interrupted(args: &Args, live: &Live) -> Result<(), Failure> {
    if args.until_safe && !live.is_safe() {
        return Err(Failure::new(
            Kind::Failed,
            anyhow::anyhow!("interrupted before the site held everything"),
        ));
    }
    Ok(())
}

/// The release that a report speaks of, for people.
pub fn release_name(releases: &[Verified<Release>], id: Option<DocumentId>) -> String {
    match id.and_then(|id| releases.iter().find(|r| r.id() == id)) {
        Some(release) => format!("{} {}", release.product, release.version),
        None => id.map_or_else(String::new, |id| id.short()),
    }
}
