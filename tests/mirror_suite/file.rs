//! What is special to the embedded file.

use std::os::unix::fs::PermissionsExt;

use callboard::mirror::{
    RoomMirror,
    sqlite::{SqliteMirror, SqliteSync},
};

use crate::{
    fixture::{file_in, run_sql},
    sample::*,
};

#[tokio::test]
async fn room_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(&directory);
    for sync in [SqliteSync::Normal, SqliteSync::Full] {
        let first = SqliteMirror::open(&path, sync).unwrap();
        let (owned, snapshot) = Owned::rich(&first).await;
        // The first stays open, as when its process was not seen to end.
        let second = SqliteMirror::open(&path, sync).unwrap();
        assert_eq!(second.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
        let (_, _, room) =
            Owned::claim(&second, owned.room_id, Some(owned.ownership()), node_id()).await;
        assert_eq!(room, Some(Box::new(snapshot)));
    }
}

#[tokio::test]
async fn files_are_readable_by_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let mirror = SqliteMirror::open(file_in(&directory), SqliteSync::Normal).unwrap();
    Owned::rich(&mirror).await;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn file_of_a_newer_release_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(&directory);
    drop(SqliteMirror::open(&path, SqliteSync::Normal).unwrap());
    run_sql(&path, "PRAGMA user_version = 2");
    let fault = SqliteMirror::open(&path, SqliteSync::Normal).err().unwrap();
    assert!(fault.to_string().contains("newer release"), "{fault}");
}

#[tokio::test]
async fn fields_of_another_release_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(&directory);
    let mirror = SqliteMirror::open(&path, SqliteSync::Normal).unwrap();
    let (owned, snapshot) = Owned::rich(&mirror).await;
    run_sql(
        &path,
        "INSERT INTO record SELECT room_id, 'head', 'mood', 'sunny' FROM room",
    );
    owned.write(&mirror, full_changes(&snapshot, 1, 2)).await;
    let kept = run_sql(
        &path,
        "DELETE FROM record WHERE id = 'mood' AND value = 'sunny'",
    );
    assert_eq!(kept, 1);
    let (_, _, room) =
        Owned::claim(&mirror, owned.room_id, Some(owned.ownership()), node_id()).await;
    assert_eq!(room, Some(Box::new(snapshot)));
}
