//! Stories of documents that must not be believed, offered by an enrolled peer to a real device.

use crate::support::hostile::{Identity, Wire, runtime};
use crate::support::{Site, noise, ok, samara, wait_for};
use ed25519_dalek::SigningKey;
use samara_protocol::document::{Document, Envelope, Release, Rollout, Withdrawal};
use samara_protocol::id::SiteId;
use samara_protocol::wire::{Message, ServeMode};
use samara_seeder::keys::Passphrases;
use samara_seeder::site::SiteDir;

fn key(site: &Site, name: &str) -> SigningKey {
    Passphrases::default().load(&site.dir().join("keys").join(name)).unwrap()
}

fn envelopes<T: Document>(site: &Site) -> Vec<Envelope> {
    let documents = SiteDir::open(site.dir()).unwrap().documents().unwrap();
    let envelopes = documents.iter().map(|bytes| Envelope::parse(bytes).unwrap());
    envelopes.filter(|envelope| envelope.payload_type == T::PAYLOAD_TYPE).collect()
}

fn release(site: &Site, number: u64) -> Envelope {
    let is = |envelope: &Envelope| envelope.unverified_payload::<Release>().unwrap().number == number;
    envelopes::<Release>(site).into_iter().find(is).unwrap()
}

fn signed<T: Document>(document: &T, keys: &[SigningKey]) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(document).unwrap();
    keys.iter().for_each(|key| envelope.sign(key));
    envelope.to_bytes()
}

/// Joins, hands documents over unasked, and stays until it is sent away.
async fn hand_over(identity: Identity, address: String, documents: Vec<Vec<u8>>) -> std::io::Result<()> {
    let mut wire = Wire::dial(identity.secret, &address).await?;
    wire.say(&identity.hello(ServeMode::Pull)).await?;
    for document in documents {
        wire.say(&Message::Document(document)).await?;
    }
    loop {
        if let Message::Ping(nonce) = wire.hear().await? {
            wire.say(&Message::Pong(nonce)).await?;
        }
    }
}

#[test]
fn each_document_that_must_not_be_believed_is_refused_by_its_name_and_changes_nothing() {
    let mut site = Site::with(&["--threshold", "release=2"], 8);
    let thieves = site.devices.split_off(1);
    site.devices[0].configure("format = \"json\"", "format = \"json\"\nlevel = \"info,samara=debug\"");
    let first = std::fs::read(site.dir().join(format!("documents/enrollment-{}.json", &thieves[0].id[..10])))
        .unwrap();
    ok(samara().args(["enroll", "--site"]).arg(site.dir()).arg(&thieves[0].id));
    site.publish_noise(1000);
    let path = site.scratch.path().join("second.bin");
    let content = noise(2000, 2);
    std::fs::write(&path, &content).unwrap();
    site.publish(&path, "2");
    site.start_devices();
    let _seeder = site.serve(&[]);
    site.wait_installed(&content);
    let status = wait_for("a device at rest", || {
        let release = site.devices[0].release()?;
        (release["state"] == "installed").then_some(site.devices[0].status()?["releases"].clone())
    });

    let [release_key, other_key, rollout_key] =
        ["release", "release-2", "rollout"].map(|name| key(&site, name));
    // Release 1 itself is still named by the Rollout of its channel; this one is not.
    let older =
        Release { number: 1, version: "0.9".into(), ..release(&site, 1).unverified_payload().unwrap() };
    let older = signed(&older, &[release_key.clone(), other_key]);
    let third = Release { number: 3, ..release(&site, 2).unverified_payload().unwrap() };
    let rollout: Rollout = envelopes::<Rollout>(&site)[0].unverified_payload().unwrap();
    let elsewhere = Rollout { site: SiteId([7; 16]), ..rollout };
    // An honest peer may come by these: it is told nothing and stays.
    let everyday = [
        (signed(&third, std::slice::from_ref(&rollout_key)), "not signed by the role release".to_owned()),
        (signed(&third, &[release_key]), "1 of 2 signatures that the role release needs".into()),
        (older, "release number 1 is older than 2".into()),
        (first, "sequence 1 is older than 2".into()),
    ];
    let true_one = release(&site, 2);
    let signer = true_one.signatures[0].key;
    let changed = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = true_one.clone();
        change(&mut envelope);
        envelope.to_bytes()
    };
    let misfit = format!("the signature of key {signer} does not fit the document");
    // Nobody comes by these honestly: whoever passes one on is sent away.
    let violations = [
        (changed(&|e| e.signatures.clear()), "unsigned".to_owned()),
        (changed(&|e| e.signatures[1] = e.signatures[0].clone()), format!("the key {signer} signs twice")),
        (changed(&|e| e.payload = third_payload(&e.payload)), misfit.clone()),
        (changed(&|e| e.payload_type = Withdrawal::PAYLOAD_TYPE.into()), misfit),
        (vec![b'['; 65 * 1024], "65536".into()),
        (signed(&elsewhere, &[rollout_key]), format!("for site {}, this is", SiteId([7; 16]))),
    ];

    let runtime = runtime();
    let device = &site.devices[0];
    let hand = |thief: usize, documents: Vec<Vec<u8>>| {
        let identity = Identity::stolen(&site, &thieves[thief]);
        runtime.spawn(hand_over(identity, device.address.clone(), documents));
    };
    hand(0, everyday.iter().map(|(document, _)| document.clone()).collect());
    (1..).zip(&violations).for_each(|(thief, (document, _))| hand(thief, vec![document.clone()]));
    let everyday = everyday.iter().map(|(_, why)| (0, why));
    for (thief, why) in everyday.chain((1..).zip(violations.iter().map(|(_, why)| why))) {
        wait_for(&format!("the reason {why:?}"), || {
            let mut events = device.events("document_refused").into_iter();
            events.find(|event| {
                event["peer"] == thieves[thief].id.as_str() && event["why"].as_str().unwrap().contains(why)
            })
        });
    }
    let sent_away = wait_for("whoever passed one on to be sent away", || {
        let events = device.events("peer_violation");
        (events.len() == violations.len()).then_some(events)
    });
    assert!(sent_away.iter().all(|event| event["peer"] != thieves[0].id.as_str()), "{sent_away:?}");
    assert_eq!(device.status().unwrap()["releases"], status);
    assert_eq!(device.installed().unwrap(), content);
}

fn third_payload(second: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(second).unwrap();
    let third = text.replace("\"number\":2", "\"number\":3");
    assert_ne!(third, text);
    third.into()
}

#[test]
fn a_copy_without_its_signatures_keeps_no_device_from_the_document_itself() {
    let mut site = Site::with(&["--threshold", "release=2"], 3);
    let thieves = site.devices.split_off(1);
    site.devices[0].configure("format = \"json\"", "format = \"json\"\nlevel = \"info,samara=debug\"");
    let content = site.publish_noise(1000);
    let mut poor = release(&site, 1);
    poor.signatures.pop();
    let mut bare = envelopes::<Rollout>(&site).remove(0);
    bare.signatures.clear();
    site.start_devices();
    let runtime = runtime();
    for (thief, copy) in thieves.iter().zip([poor, bare]) {
        let identity = Identity::stolen(&site, thief);
        runtime.spawn(hand_over(identity, site.devices[0].address.clone(), vec![copy.to_bytes()]));
    }
    wait_for("two refusals", || (site.devices[0].events("document_refused").len() == 2).then_some(()));
    let _seeder = site.serve(&[]);
    site.wait_installed(&content);
}
