use std::collections::HashSet;
use std::ffi::OsStr;

use super::pages::SECTOR_BYTES;
use super::*;

fn tree(strict_dirs: bool, ordered: bool) -> Tree {
    Tree::new(Rules { strict_dirs, ordered })
}

fn file(tree: &mut Tree, directory: Ino, name: &str) -> Ino {
    let inode = Inode::new(Node::File(FileImage::default()), 0o644, 0, 0);
    tree.create(directory, OsStr::new(name), inode).unwrap()
}

fn mkdir(tree: &mut Tree, directory: Ino, name: &str) -> Ino {
    tree.create(directory, OsStr::new(name), Inode::new(Node::directory(directory), 0o755, 0, 0)).unwrap()
}

fn write(tree: &mut Tree, ino: Ino, offset: u64, bytes: &[u8]) {
    tree.with_file(ino, |file| file.write(offset, bytes)).unwrap();
}

fn truncate(tree: &mut Tree, ino: Ino, size: u64) {
    tree.with_file(ino, |file| file.truncate(size)).unwrap();
}

fn rename(tree: &mut Tree, from: (Ino, &str), to: (Ino, &str)) {
    tree.rename((from.0, OsStr::new(from.1)), (to.0, OsStr::new(to.1)), false).unwrap();
}

fn cut(tree: &mut Tree, seed: u64, mode: CutMode) -> CutReport {
    tree.cut(&mut Random::new(seed), mode).0
}

fn content(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    let file = tree.file(tree.at(path).ok()?).unwrap();
    Some(file.read(0, file.size() as usize))
}

#[test]
fn what_was_synced_survives_every_cut() {
    for seed in 0..200 {
        let mut tree = tree(false, false);
        let ino = file(&mut tree, ROOT, "a");
        let synced: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8 + 1).collect();
        write(&mut tree, ino, 0, &synced);
        tree.fsync(ino).unwrap();
        write(&mut tree, ino, 20_000, &[7; 50_000]);
        cut(&mut tree, seed, CutMode::Random);
        let left = content(&tree, "a").unwrap();
        assert!((20_000..=70_000).contains(&left.len()), "{}", left.len());
        assert_eq!(left[..20_000], synced);
        assert!(left[20_000..].iter().all(|byte| *byte == 0 || *byte == 7));
    }
}

#[test]
fn what_was_not_synced_is_lost_kept_and_torn_by_sectors() {
    let (mut lost, mut kept, mut torn, mut reordered) = (0, 0, 0, 0);
    for seed in 0..200 {
        let mut tree = tree(false, false);
        let ino = file(&mut tree, ROOT, "a");
        write(&mut tree, ino, 0, &[1; 8 * PAGE_BYTES]);
        tree.fsync(ino).unwrap();
        write(&mut tree, ino, 0, &[2; 8 * PAGE_BYTES]);
        write(&mut tree, ino, 100, &[3; 4 * PAGE_BYTES]);
        cut(&mut tree, seed, CutMode::Random);
        let left = content(&tree, "a").unwrap();
        assert_eq!(left.len(), 8 * PAGE_BYTES);
        for page in left[5 * PAGE_BYTES..].chunks(PAGE_BYTES) {
            match (page.contains(&1), page.contains(&2)) {
                (true, false) => lost += 1,
                (false, true) => kept += 1,
                _ => torn += 1,
            }
            assert!(page.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        }
        reordered += u32::from(left.contains(&1) && left.contains(&3));
    }
    assert!(lost > 50 && kept > 50 && torn > 20 && reordered > 20, "{lost} {kept} {torn} {reordered}");
}

#[test]
fn the_modes_without_chance_do_what_they_say() {
    for (mode, expected) in [(CutMode::Nothing, &b"old"[..]), (CutMode::Everything, b"new, longer")] {
        let mut tree = tree(true, false);
        let ino = file(&mut tree, ROOT, "a");
        write(&mut tree, ino, 0, b"old");
        tree.fsync(ino).unwrap();
        tree.fsync_directory(ROOT).unwrap();
        write(&mut tree, ino, 0, b"new, longer");
        file(&mut tree, ROOT, "b");
        cut(&mut tree, 1, mode);
        assert_eq!(content(&tree, "a").as_deref(), Some(expected));
        assert_eq!(content(&tree, "b").is_some(), mode == CutMode::Everything);
    }
}

#[test]
fn a_truncation_happens_whole_or_not_at_all() {
    let (mut done, mut not_done) = (0, 0);
    for seed in 0..300 {
        let mut tree = tree(false, false);
        let ino = file(&mut tree, ROOT, "a");
        write(&mut tree, ino, 0, &[1; 3 * PAGE_BYTES]);
        tree.fsync(ino).unwrap();
        truncate(&mut tree, ino, 10);
        write(&mut tree, ino, 10, &[2; 5000]);
        cut(&mut tree, seed, CutMode::Random);
        let left = content(&tree, "a").unwrap();
        if left.len() == 3 * PAGE_BYTES && left.contains(&1) && left[10] == 1 {
            assert!(left.iter().all(|byte| *byte == 1), "nothing that came after it either");
            not_done += 1;
        } else {
            assert!(left[..10].iter().all(|byte| *byte == 1) && !left[10..].contains(&1));
            done += 1;
        }
    }
    assert!(done > 50 && not_done > 50, "{done} {not_done}");
}

#[test]
fn many_changes_of_one_page_never_bring_back_what_a_truncation_cut_off() {
    for seed in 0..300 {
        let mut tree = tree(false, false);
        let ino = file(&mut tree, ROOT, "a");
        write(&mut tree, ino, 0, &[1; PAGE_BYTES]);
        tree.fsync(ino).unwrap();
        for _ in 0..3 {
            truncate(&mut tree, ino, 0);
            for n in 0..15 {
                write(&mut tree, ino, n * 100, &[2; 100]);
            }
        }
        cut(&mut tree, seed, CutMode::Random);
        let left = content(&tree, "a").unwrap();
        assert!(!left.contains(&1) || left == [1; PAGE_BYTES], "{left:?}");
    }
}

#[test]
fn ordered_appends_show_no_zeros() {
    let mut sizes = HashSet::new();
    for seed in 0..600 {
        let mut tree = tree(false, true);
        let ino = file(&mut tree, ROOT, "a");
        write(&mut tree, ino, 0, &[1; 100]);
        tree.fsync(ino).unwrap();
        let base = if seed % 2 == 0 {
            100
        } else {
            truncate(&mut tree, ino, 50);
            50
        };
        for n in 0..60 {
            write(&mut tree, ino, base + n * 300, &[1; 300]);
        }
        cut(&mut tree, seed, CutMode::Random);
        let left = content(&tree, "a").unwrap();
        assert!(left.len() >= 50 && left.iter().all(|byte| *byte == 1), "seed {seed}: {left:?}");
        sizes.insert(left.len());
    }
    assert!(sizes.len() > 8, "{sizes:?}");
}

#[test]
fn a_failed_fsync_is_not_made_good_by_the_next() {
    let mut tree = tree(false, false);
    let ino = file(&mut tree, ROOT, "a");
    tree.fsync(ino).unwrap();
    write(&mut tree, ino, 0, &[5; 100]);
    tree.with_file(ino, FileImage::sync_failed).unwrap();
    tree.fsync(ino).unwrap();
    assert_eq!(tree.file(ino).unwrap().read(0, 100), [5; 100], "readers still see it");
    cut(&mut tree, 1, CutMode::Nothing);
    assert_eq!(content(&tree, "a").unwrap(), [0; 100]);
}

#[test]
fn writing_a_page_again_after_a_failed_fsync_brings_it_back_whole() {
    let mut tree = tree(false, false);
    let ino = file(&mut tree, ROOT, "a");
    write(&mut tree, ino, 0, &[5; 100]);
    tree.with_file(ino, FileImage::sync_failed).unwrap();
    write(&mut tree, ino, 200, &[6; 100]);
    tree.fsync(ino).unwrap();
    cut(&mut tree, 1, CutMode::Nothing);
    assert_eq!(content(&tree, "a").unwrap(), [vec![5; 100], vec![0; 100], vec![6; 100]].concat());
}

#[test]
fn what_a_failed_truncation_left_past_the_end_is_not_uncovered_later() {
    let mut tree = tree(false, false);
    let ino = file(&mut tree, ROOT, "a");
    write(&mut tree, ino, 0, &[5; 100]);
    tree.fsync(ino).unwrap();
    truncate(&mut tree, ino, 10);
    tree.with_file(ino, FileImage::sync_failed).unwrap();
    tree.fsync(ino).unwrap();
    truncate(&mut tree, ino, 100);
    tree.fsync(ino).unwrap();
    cut(&mut tree, 1, CutMode::Nothing);
    assert_eq!(content(&tree, "a").unwrap(), [vec![5; 10], vec![0; 90]].concat());
}

#[test]
fn a_rename_needs_an_fsync_of_its_directory() {
    for strict in [true, false] {
        let mut tree = tree(strict, false);
        let ino = file(&mut tree, ROOT, "draft");
        write(&mut tree, ino, 0, b"new");
        tree.fsync(ino).unwrap();
        tree.fsync_directory(ROOT).unwrap();
        rename(&mut tree, (ROOT, "draft"), (ROOT, "final"));
        assert_eq!(content(&tree, "final").unwrap(), b"new");
        cut(&mut tree, 1, CutMode::Nothing);
        assert_eq!(content(&tree, "final"), None);
        assert_eq!(content(&tree, "draft").unwrap(), b"new");
        rename(&mut tree, (ROOT, "draft"), (ROOT, "final"));
        tree.fsync_directory(ROOT).unwrap();
        cut(&mut tree, 1, CutMode::Nothing);
        assert_eq!(content(&tree, "final").unwrap(), b"new");
        assert_eq!(content(&tree, "draft"), None);
    }
}

#[test]
fn a_rename_over_a_file_leaves_the_old_or_the_new_one() {
    let mut seen = HashSet::new();
    for seed in 0..100 {
        let mut tree = tree(false, false);
        for (name, bytes) in [("final", b"old"), ("draft", b"new")] {
            let ino = file(&mut tree, ROOT, name);
            write(&mut tree, ino, 0, bytes);
            tree.fsync(ino).unwrap();
        }
        rename(&mut tree, (ROOT, "draft"), (ROOT, "final"));
        cut(&mut tree, seed, CutMode::Random);
        seen.insert((content(&tree, "final"), content(&tree, "draft")));
    }
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(seen, HashSet::from([(old, new.clone()), (new, None)]));
}

#[test]
fn a_new_file_in_a_new_directory_needs_every_directory_on_the_way_where_they_are_strict() {
    let mut relaxed = tree(false, false);
    let directory = mkdir(&mut relaxed, ROOT, "d");
    let ino = file(&mut relaxed, directory, "f");
    write(&mut relaxed, ino, 0, b"x");
    relaxed.fsync(ino).unwrap();
    cut(&mut relaxed, 1, CutMode::Nothing);
    assert_eq!(content(&relaxed, "d/f").unwrap(), b"x");
    assert_eq!(relaxed.get(relaxed.at("d").unwrap()).unwrap().links, 2);
    assert_eq!(relaxed.get(ROOT).unwrap().links, 3);

    for parent_too in [false, true] {
        let mut strict = tree(true, false);
        let directory = mkdir(&mut strict, ROOT, "d");
        let ino = file(&mut strict, directory, "f");
        strict.fsync(ino).unwrap();
        strict.fsync_directory(directory).unwrap();
        if parent_too {
            strict.fsync_directory(ROOT).unwrap();
        }
        cut(&mut strict, 1, CutMode::Random);
        assert_eq!(content(&strict, "d/f").is_some(), parent_too);
    }
}

#[test]
fn a_move_between_directories_leaves_one_name() {
    let mut tree = tree(true, false);
    let (a, b) = (mkdir(&mut tree, ROOT, "a"), mkdir(&mut tree, ROOT, "b"));
    tree.fsync_directory(ROOT).unwrap();
    let ino = file(&mut tree, a, "x");
    write(&mut tree, ino, 0, b"1");
    tree.fsync(ino).unwrap();
    rename(&mut tree, (a, "x"), (b, "y"));
    tree.fsync_directory(b).unwrap();
    tree.fsync_directory(a).unwrap();
    cut(&mut tree, 1, CutMode::Nothing);
    assert_eq!(content(&tree, "a/x"), None);
    assert_eq!(content(&tree, "b/y").unwrap(), b"1");
}

#[test]
fn two_names_of_one_file_stay_one_file() {
    let mut tree = tree(false, false);
    let ino = file(&mut tree, ROOT, "a");
    write(&mut tree, ino, 0, b"1");
    tree.link(ino, ROOT, OsStr::new("b")).unwrap();
    tree.sync_all();
    cut(&mut tree, 1, CutMode::Nothing);
    assert_eq!(tree.at("a").unwrap(), tree.at("b").unwrap());
    assert_eq!(tree.get(tree.at("a").unwrap()).unwrap().links, 2);
}

#[test]
fn an_inode_from_before_the_cut_is_dead() {
    let mut tree = tree(false, false);
    let ino = file(&mut tree, ROOT, "a");
    tree.fsync(ino).unwrap();
    cut(&mut tree, 1, CutMode::Everything);
    assert_eq!(tree.get(ino).err(), Some(rustix::io::Errno::IO));
    assert!(tree.at("a").is_ok());
}

#[test]
fn a_removed_file_gives_its_pages_back_once_it_is_closed() {
    let mut tree = tree(false, false);
    let ino = file(&mut tree, ROOT, "a");
    write(&mut tree, ino, 0, &[1; PAGE_BYTES * 3]);
    tree.fsync(ino).unwrap();
    tree.get_mut(ino).unwrap().opens = 1;
    tree.unlink(ROOT, OsStr::new("a")).unwrap();
    assert_eq!(tree.used_pages(), 3);
    tree.close(ino);
    assert_eq!(tree.used_pages(), 0);
    assert_eq!(tree.inodes().len(), 2, "a cut may still bring it back");
    tree.fsync_directory(ROOT).unwrap();
    assert_eq!(tree.inodes().len(), 1);
}

#[test]
fn a_directory_removed_whole_leaves_nothing_behind_though_only_its_parent_was_synced() {
    for strict in [true, false] {
        let mut tree = tree(strict, false);
        let directory = mkdir(&mut tree, ROOT, "d");
        for name in ["a", "b"] {
            let ino = file(&mut tree, directory, name);
            write(&mut tree, ino, 0, &[1; PAGE_BYTES]);
            tree.fsync(ino).unwrap();
        }
        tree.fsync_directory(directory).unwrap();
        tree.fsync_directory(ROOT).unwrap();
        rename(&mut tree, (ROOT, "d"), (ROOT, "d.removed"));
        for name in ["a", "b"] {
            tree.unlink(directory, OsStr::new(name)).unwrap();
        }
        tree.remove_directory(ROOT, OsStr::new("d.removed")).unwrap();
        assert_eq!(tree.used_pages(), 0);
        tree.fsync_directory(ROOT).unwrap();
        assert_eq!((tree.inodes().len(), tree.unsynced_names()), (1, 0));
    }
}

#[test]
fn a_flipped_byte_is_in_both_images() {
    let mut tree = tree(false, false);
    let ino = file(&mut tree, ROOT, "a");
    write(&mut tree, ino, 0, &[0x0F; 10]);
    assert!(!tree.with_file(ino, |file| file.flip(3)).unwrap(), "nothing of it is on the disk yet");
    tree.with_file(ino, |file| file.flip(3)).unwrap();
    tree.fsync(ino).unwrap();
    assert!(tree.with_file(ino, |file| file.flip(3)).unwrap());
    assert_eq!(tree.file(ino).unwrap().read(3, 1), [0xF0]);
    cut(&mut tree, 1, CutMode::Nothing);
    assert_eq!(content(&tree, "a").unwrap()[3..5], [0xF0, 0x0F]);
    let ino = tree.at("a").unwrap();
    assert!(!tree.with_file(ino, |file| file.flip(10)).unwrap());
}

#[test]
fn the_same_seed_leaves_the_same_image() {
    let run = |seed| {
        let mut tree = tree(false, false);
        for n in 0..20 {
            let ino = file(&mut tree, ROOT, &format!("f{n}"));
            for k in 0..50_u64 {
                write(&mut tree, ino, k * 700, &[k as u8 + 1; 700]);
            }
        }
        cut(&mut tree, seed, CutMode::Random);
        (0..20).map(|n| content(&tree, &format!("f{n}"))).collect::<Vec<_>>()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
