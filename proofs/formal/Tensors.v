(** * Tensors of numbers, some of them -oo: shapes, places, and how operations move entries ([proofs.network.graph])

    A tensor is a function from places (row-major, from 0) to entries; an entry is a real number, or [None] where a mask
    holds -oo.  Nothing is proved of the maps of places here, because they *are* the meaning of reshape, permute, slice
    and the like; the tests hold them against numpy. *)

From Coq Require Import Reals NArith List FMapPositive Bool Lia.
Import ListNotations.
Local Open Scope N_scope.

Inductive kind := Real | Whole | Truth.
Definition shape := list N.
Record type := Type_ { dims : shape; of_kind : kind }.

Definition tensor := N -> option R.

Definition size (s : shape) : N := fold_right N.mul 1 s.

(** Places outside of a tensor are read as its first, so that statements about all places are statements about all of its
    own. *)
Definition wrap (n k : N) : N := if k <? n then k else 0.

Lemma wrap_cases n k : wrap n k = 0 \/ wrap n k < n.
Proof. unfold wrap; destruct (N.ltb_spec k n); auto. Qed.

(** ** Places and multi-indices *)
Fixpoint ravel (s : shape) (index : list N) : N :=
  match s, index with
  | _ :: s', i :: index' => i * size s' + ravel s' index'
  | _, _ => 0
  end.
Fixpoint unravel (s : shape) (k : N) : list N :=
  match s with
  | [] => []
  | _ :: s' => (k / size s') :: unravel s' (k mod size s')
  end.

Fixpoint count_up (n : nat) (k : N) : list N := match n with O => [] | S n => k :: count_up n (N.succ k) end.
Definition range (n : N) : list N := count_up (N.to_nat n) 0.

Lemma range_is n : range n = map N.of_nat (seq 0 (N.to_nat n)).
Proof.
unfold range; change 0 with (N.of_nat 0); generalize 0%nat as k.
induction (N.to_nat n) as [|m IH]; intros k; simpl; [reflexivity|].
f_equal; rewrite <- IH; f_equal; lia.
Qed.

Lemma in_range n k : In k (range n) <-> k < n.
Proof.
rewrite range_is, in_map_iff; split.
- intros [m [<- H]]; apply in_seq in H; lia.
- intros H; exists (N.to_nat k); split; [apply N2Nat.id | apply in_seq; lia].
Qed.
Lemma length_range n : length (range n) = N.to_nat n.
Proof. now rewrite range_is, map_length, seq_length. Qed.

Fixpoint set_nth (axis : nat) (i : N) (index : list N) : list N :=
  match axis, index with
  | O, _ :: rest => i :: rest
  | S a, j :: rest => j :: set_nth a i rest
  | _, [] => []
  end.

(** The shape that several broadcast to, aligned at the end. *)
Fixpoint broadcast_reversed (s t : list N) : option (list N) :=
  match s, t with
  | [], _ => Some t
  | _, [] => Some s
  | m :: s', n :: t' =>
      match broadcast_reversed s' t' with
      | None => None
      | Some rest => if m =? n then Some (m :: rest) else if m =? 1 then Some (n :: rest)
                     else if n =? 1 then Some (m :: rest) else None
      end
  end.
Definition broadcast (s t : shape) : option shape := option_map (@rev N) (broadcast_reversed (rev s) (rev t)).

(** The place in a tensor of shape [from] that stands at place [k] of its expansion to [to]. *)
Definition broadcast_index (from : shape) (index : list N) : list N :=
  let index' := skipn (length index - length from) index in
  map (fun p => if fst p =? 1 then 0 else snd p) (combine from index').
Definition broadcast_place (from to : shape) (k : N) : N :=
  if list_eq_dec N.eq_dec from to then k else ravel from (broadcast_index from (unravel to k)).

(** ** Moves: which argument, and which place of it, stands at a place of the result *)
Inductive move :=
| Reshape
| Permute (order : list nat)
| Expand
| Slice (axis : nat) (start step : N)
| Concatenate (axis : nat).

Fixpoint place_in (a : nat) (order : list nat) : nat :=
  match order with
  | [] => O
  | b :: rest => if Nat.eqb a b then O else S (place_in a rest)
  end.

(** In which part of a concatenation an index lies, and at which index of it. *)
Fixpoint part (axis : nat) (parts : list shape) (number : nat) (i : N) : nat * N :=
  match parts with
  | [] => (number, i)
  | s :: rest => let n := nth axis s 0 in if i <? n then (number, i) else part axis rest (S number) (i - n)
  end.

Definition source (m : move) (args : list shape) (to : shape) (k : N) : nat * N :=
  let from := hd [] args in
  match m with
  | Reshape => (O, k)
  | Permute order =>
      let index := unravel to k in
      (O, ravel from (map (fun a => nth (place_in a order) index 0) (seq 0 (length from))))
  | Expand => (O, broadcast_place from to k)
  | Slice axis start step =>
      let index := unravel to k in (O, ravel from (set_nth axis (start + step * nth axis index 0) index))
  | Concatenate axis =>
      let index := unravel to k in
      let (number, i) := part axis args O (nth axis index 0) in
      (number, ravel (nth number args []) (set_nth axis i index))
  end.

Definition moved_shape (m : move) (args : list shape) (to : shape) : bool :=
  let eq := list_eq_dec N.eq_dec in
  match m, args with
  | Reshape, [from] => size from =? size to
  | Permute order, [from] =>
      (Nat.eqb (length order) (length from)) && forallb (fun a => existsb (Nat.eqb a) order) (seq 0 (length from)) &&
      (if eq to (map (fun a => nth a from 0) order) then true else false)
  | Expand, [from] => match broadcast from to with Some s => if eq s to then true else false | None => false end
  | Slice axis start step, [from] =>
      let n := nth axis to 0 in
      (Nat.ltb axis (length from)) && (1 <=? step) && (if eq (set_nth axis n from) to then true else false) &&
      ((n =? 0) || (start + step * (n - 1) <? nth axis from 0))
  | Concatenate axis, from :: _ =>
      (Nat.ltb axis (length from)) &&
      forallb (fun s => if eq (set_nth axis 0 s) (set_nth axis 0 from) then true else false) args &&
      (if eq (set_nth axis (fold_right N.add 0 (map (fun s => nth axis s 0) args)) from) to then true else false)
  | _, _ => false
  end.

(** ** Rows and groups *)

(** The places of the row along an axis in which place [k] stands. *)
Definition row (s : shape) (axis : nat) (k : N) : list N :=
  let index := unravel s k in map (fun i => ravel s (set_nth axis i index)) (range (nth axis s 0)).

(** The multi-indices that are reduced to one: all indices along the axes marked [true]. *)
Fixpoint group (s : shape) (reduced : list bool) (keep : bool) (index : list N) : list (list N) :=
  match s, reduced with
  | n :: s', true :: reduced' =>
      let rest := group s' reduced' keep (if keep then tl index else index) in
      flat_map (fun i => map (cons i) rest) (range n)
  | _ :: s', false :: reduced' => map (cons (hd 0 index)) (group s' reduced' keep (tl index))
  | _, _ => [[]]
  end.

(** One axis of several, marked. *)
Fixpoint marks (axes : list bool) (axis : nat) : list bool :=
  match axes, axis with [], _ => [] | _ :: rest, O => true :: map (fun _ => false) rest | _ :: rest, S a => false :: marks rest a end.

Fixpoint count (s : shape) (reduced : list bool) : N :=
  match s, reduced with
  | n :: s', true :: reduced' => n * count s' reduced'
  | _ :: s', false :: reduced' => count s' reduced'
  | _, _ => 1
  end.

Lemma length_flat_map_const {A B} (f : A -> list B) (xs : list A) n : (forall x, length (f x) = n) ->
  length (flat_map f xs) = (length xs * n)%nat.
Proof. intros H; induction xs as [|x xs IH]; simpl; [reflexivity | now rewrite app_length, H, IH]. Qed.

Lemma length_group s : forall reduced keep index, length (group s reduced keep index) = N.to_nat (count s reduced).
Proof.
induction s as [|n s IH]; intros [|[] reduced] keep index; simpl; try reflexivity.
- rewrite length_flat_map_const with (n := N.to_nat (count s reduced)).
    rewrite length_range; lia.
  intros i; now rewrite map_length, IH.
- now rewrite map_length, IH.
Qed.

Lemma count_nothing s : count s (map (fun _ => false) s) = 1.
Proof. induction s; simpl; trivial. Qed.

Lemma count_marks s : forall axis, (axis < length s)%nat -> count s (marks (map (fun _ => false) s) axis) = nth axis s 0.
Proof.
induction s as [|n s IH]; intros [|axis] H; simpl in *; try lia; [|apply IH; lia].
replace (map _ (map _ s)) with (map (fun _ => false) s) by (rewrite map_map; reflexivity).
rewrite count_nothing; lia.
Qed.

Fixpoint reduced_shape (s : shape) (reduced : list bool) (keep : bool) : shape :=
  match s, reduced with
  | _ :: s', true :: reduced' => let rest := reduced_shape s' reduced' keep in if keep then 1 :: rest else rest
  | n :: s', false :: reduced' => n :: reduced_shape s' reduced' keep
  | _, _ => s
  end.

(** ** Tables of entries *)
Definition table (A : Type) := PositiveMap.t A.

Fixpoint enter {A} (xs : list A) (k : BinNums.positive) (t : table A) : table A :=
  match xs with [] => t | x :: xs' => enter xs' (Pos.succ k) (PositiveMap.add k x t) end.

(** The first [length xs] places hold [xs]; all others are those of [default]. *)
Definition tabulated {A} (xs : list A) : table A := enter xs 1%positive (PositiveMap.empty A).
Definition entry {A} (default : A) (t : table A) (k : N) : A :=
  match PositiveMap.find (N.succ_pos k) t with Some x => x | None => default end.

Lemma enter_find {A} (xs : list A) : forall k t p x, PositiveMap.find p (enter xs k t) = Some x ->
  In x xs \/ PositiveMap.find p t = Some x.
Proof.
induction xs as [|y xs IH]; intros k t p x H; simpl in *; [now right|].
apply IH in H as [H|H]; [auto|].
destruct (Pos.eq_dec p k) as [->|N]; [rewrite PositiveMap.gss in H; injection H; auto|].
rewrite PositiveMap.gso in H by exact N; now right.
Qed.

Lemma entry_in {A} (default : A) xs k : In (entry default (tabulated xs) k) (default :: xs).
Proof.
unfold entry, tabulated; destruct (PositiveMap.find _ _) as [x|] eqn:E; [|now left].
apply enter_find in E as [E|E]; [now right | rewrite PositiveMap.gempty in E; discriminate].
Qed.

Lemma enter_before {A} (xs : list A) : forall k t p, (p < k)%positive ->
  PositiveMap.find p (enter xs k t) = PositiveMap.find p t.
Proof.
induction xs as [|x xs IH]; intros k t p H; simpl; [reflexivity|].
rewrite IH by lia; apply PositiveMap.gso; lia.
Qed.

Lemma enter_nth {A} (xs : list A) : forall k t n x, nth_error xs n = Some x ->
  PositiveMap.find (Pos.of_nat (Pos.to_nat k + n)) (enter xs k t) = Some x.
Proof.
induction xs as [|y xs IH]; intros k t [|n] x H; simpl in *; try discriminate.
- injection H as ->; rewrite Nat.add_0_r, Pos2Nat.id, enter_before by lia; apply PositiveMap.gss.
- replace (Pos.to_nat k + S n)%nat with (Pos.to_nat (Pos.succ k) + n)%nat by lia; now apply IH.
Qed.

(** A function written out, place by place. *)
Definition written (f : N -> bool) (n : N) : table bool := tabulated (map f (range n)).
Lemma written_entry f n k : k < n -> entry false (written f n) k = f k.
Proof.
intros H; unfold entry, written, tabulated.
replace (N.succ_pos k) with (Pos.of_nat (Pos.to_nat 1 + N.to_nat k)); cycle 1.
  apply Pos2Nat.inj; rewrite Nat2Pos.id by (pose proof (Pos2Nat.is_pos 1); lia).
  destruct k; simpl; [reflexivity | now rewrite Pos2Nat.inj_succ].
rewrite (enter_nth _ 1%positive _ (N.to_nat k) (f k)); [reflexivity|].
rewrite range_is, map_map, nth_error_map.
rewrite (nth_error_nth' _ 0%nat) by (rewrite seq_length; lia).
simpl; rewrite seq_nth by lia; simpl; now rewrite N2Nat.id.
Qed.
