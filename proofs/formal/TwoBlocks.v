(** * Two blocks without positions: two words of 82 letters that collide for every parameter

    docs/generic-position.md, "Two blocks, no positions".  A state behind one block without positions is a function of its
    token and of how often, in proportion, every token occurs up to it.  A second block sums over the states of all
    earlier positions; so two prompts collide whose positions can be matched such that matched ones have equal tokens and
    proportional counts.  The conjecture that only runs of one token do was false: here is a pair. *)

From Coq Require Import String Ascii.
From mathcomp Require Import all_ssreflect ssralg ssrnum zify.
From Sipit Require Import Network Collisions Softmax.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section TwoBlocks.

Variables (F : numFieldType) (U : lmodType F) (X : Type) (x0 : X) (Token : eqType) (a0 : Token) (embed : nat -> Token -> X).
Hypothesis embedP : position_free_embedding embed.

(** Two layers without positions: the weight of a position is proportional to any function of both contents. *)
Variables (L1 L2 : layer U X) (a1 : 'I_(heads L1) -> X -> X -> F) (a2 : 'I_(heads L2) -> X -> X -> F).
Hypotheses (weight1 : content_weights x0 a1 (fun=> 1)) (free1 : position_free L1).
Hypotheses (weight2 : content_weights x0 a2 (fun=> 1)) (free2 : position_free L2).

Lemma content_causal (L : layer U X) (a : 'I_(heads L) -> X -> X -> F) rho : content_weights x0 a rho -> causal L.
Proof.
move=> weightP h xs ys i j lt_x lt_y eq_take; rewrite !weightP //.
have same k : (k < i.+1)%N -> nth x0 xs k = nth x0 ys k by exact: nth_of_take eq_take.
split; last by move=> lt; rewrite leqNgt lt.
case: leqP => // le; rewrite (same i) // (same j) //; congr (_ / _).
by apply: eq_bigr => k _; rewrite (same k).
Qed.

(** Position k of s and position j of t: equal tokens, and every token equally often up to them, in proportion. *)
Definition alike (s t : seq Token) (k j : nat) : Prop :=
  nth a0 s k = nth a0 t j /\
  exists m n, [/\ (0 < m)%N, (0 < n)%N & forall u, (m * count_mem u (take k.+1 s) = n * count_mem u (take j.+1 t))%N].

Local Notation states1 := (states x0 a0 embed [:: L1]).

Lemma alike_states s t k j : (k < size s)%N -> (j < size t)%N -> alike s t k j ->
  nth x0 (states1 s) k = nth x0 (states1 t) j.
Proof.
move=> lt_k lt_j [eq_tok [m [n [m0 n0 counts]]]].
have causals : all_layers causal [:: L1] by split=> //; exact: content_causal weight1.
rewrite !(state_is_last_of_prefix x0 a0 embed causals) // eq_tok.
apply: (proportional_multisets a0 embedP weight1 free1 m0 n0) => u.
by rewrite -{1}eq_tok -!take_nth.
Qed.

(** If the positions can be matched, the last ones with each other, the two prompts collide behind two blocks. *)
Theorem matched_positions (s t : seq Token) (p : seq nat) : (0 < size s)%N -> size s = size t ->
  perm_eq p (iota 0 (size s)) -> alike s t (size s).-1 (size s).-1 ->
  (forall k, (k < size s)%N -> alike s t k (nth 0%N p k)) ->
  last_state x0 a0 embed [:: L1; L2] s = last_state x0 a0 embed [:: L1; L2] t.
Proof.
move=> s0 eq_size perm last_alike match_.
have size_p : size p = size s by rewrite (perm_size perm) size_iota.
have two u : last_state x0 a0 embed [:: L1; L2] u = last x0 (apply x0 L2 (states1 u)) by [].
have [xs [x eq_x]] : exists xs x, states1 s = rcons xs x.
  by case/lastP: (states1 s) (size_states x0 a0 embed [:: L1] s) s0 => [/= <-//|xs x _ _]; exists xs, x.
have [ys [y eq_y]] : exists ys y, states1 t = rcons ys y.
  case/lastP: (states1 t) (size_states x0 a0 embed [:: L1] t) => [|ys y _]; last by exists ys, y.
  by rewrite -eq_size => e; move: s0; rewrite -e.
have size_xs : (size xs).+1 = size s by rewrite -(size_states x0 a0 embed [:: L1] s) eq_x size_rcons.
have size_ys : (size ys).+1 = size s by rewrite eq_size -(size_states x0 a0 embed [:: L1] t) eq_y size_rcons.
have eq_last : x = y.
  have := alike_states _ _ last_alike; rewrite -eq_size eq_x eq_y -size_xs /= !nth_rcons ltnn eqxx.
  have -> : size xs = size ys by lia.
  by rewrite ltnn eqxx; apply; rewrite ltnSn.
have sums (V : lmodType F) (g : X -> V) : \sum_(z <- rcons xs x) g z = \sum_(z <- rcons ys y) g z.
  rewrite -eq_x -eq_y [LHS](big_nth x0) [RHS](big_nth x0) !size_states -eq_size /index_iota subn0.
  rewrite -[RHS](perm_big _ perm) -[in RHS](mkseq_nth 0%N p) size_p [RHS]big_map.
  apply: eq_big_seq => k; rewrite mem_iota add0n => /andP[_ lt_k].
  rewrite (alike_states lt_k _ (match_ k lt_k)) // -eq_size.
  by have := mem_nth 0%N (_ : (k < size p)%N); rewrite size_p => /(_ lt_k); rewrite (perm_mem perm) mem_iota => /andP[].
rewrite !two eq_x eq_y !(last_of_content _ _ weight2 free2) eq_last; congr (combine _ _ _ _).
by apply/ffunP => h; rewrite !ffunE !geometric1 -eq_last !sums eq_last.
Qed.

(** ** Words over two letters, written in any two tokens, behind any common continuation *)
Definition written (zero one : Token) (w : seq bool) : seq Token := [seq if b then one else zero | b <- w].

Lemma count_written zero one u w :
  count_mem u (written zero one w) = ((one == u) * count id w + (zero == u) * count negb w)%N.
Proof. by elim: w => [|b w IH] /=; [rewrite !muln0 | rewrite IH; case: b => /=; case: (_ == u); case: (_ == u); lia]. Qed.

Lemma count_negb w : count negb w = (size w - count id w)%N.
Proof. by rewrite -(count_predC id w) addKn. Qed.

(** Position [k] of [w] is matched with position [j] of [w']: the same letter, the same share of ones up to it. *)
Definition matches (w w' : seq bool) (m : seq nat) (k : nat) : bool :=
  let j := nth 0%N m k in
  (nth false w k == nth false w' j) && (j.+1 * count id (take k.+1 w) == k.+1 * count id (take j.+1 w'))%N.

Section Words.

Variables (n : nat) (w w' : seq bool) (m : seq nat) (zero one : Token) (c : seq Token).
Hypotheses (size_w : size w = n.+1) (size_w' : size w' = n.+1) (perm : perm_eq m (iota 0 n.+1)).
Hypotheses (match_ : all (matches w w' m) (iota 0 n.+1)) (match_last : nth 0%N m n = n) (same_ones : count id w = count id w').

Let s := written zero one w.
Let t := written zero one w'.

Let size_m : size m = n.+1. Proof. by rewrite (perm_size perm) size_iota. Qed.
Let size_s : size s = n.+1. Proof. by rewrite size_map. Qed.
Let size_t : size t = n.+1. Proof. by rewrite size_map. Qed.

Lemma prefix_written v k : size v = n.+1 -> (k < n.+1)%N ->
  take k.+1 (written zero one v ++ c) = written zero one (take k.+1 v).
Proof. by move=> size_v lt; rewrite takel_cat ?size_map ?size_v // /written map_take. Qed.

Lemma share (b p k j x y : nat) : (j * x = k * y)%N -> (j * (b * x + p * (k - x)) = k * (b * y + p * (j - y)))%N.
Proof. by move=> e; rewrite !mulnDr !mulnBr ![(j * (b * _))%N]mulnCA ![(k * (b * _))%N]mulnCA e; congr (_ + _)%N; rewrite ![(j * (p * _))%N]mulnCA ![(k * (p * _))%N]mulnCA e [(j * k)%N]mulnC. Qed.

Lemma inside k : (k < n.+1)%N -> alike (s ++ c) (t ++ c) k (nth 0%N m k).
Proof.
move=> lt_k; have := allP match_ k; rewrite mem_iota => /(_ lt_k) /andP[/eqP eq_letter /eqP eq_share].
set j := nth 0%N m k in eq_letter eq_share *.
have lt_j : (j < n.+1)%N.
  have := mem_nth 0%N (_ : (k < size m)%N); rewrite size_m => /(_ lt_k).
  by rewrite (perm_mem perm) mem_iota => /andP[].
split.
  by rewrite !nth_cat size_s size_t lt_k lt_j !(nth_map false) ?size_w ?size_w' // eq_letter.
exists j.+1, k.+1; split=> // u; rewrite !prefix_written // !count_written !count_negb.
by rewrite !size_takel ?size_w ?size_w' //; exact: share.
Qed.

Lemma beyond k : (n.+1 <= k)%N -> alike (s ++ c) (t ++ c) k k.
Proof.
move=> le; split; first by rewrite !nth_cat size_s size_t ltnNge le.
exists 1%N, 1%N; split=> // u; rewrite !mul1n !take_cat size_s size_t ltnNge leqW //= !count_cat.
by rewrite !count_written !count_negb size_w size_w' same_ones.
Qed.

Theorem matched_words :
  last_state x0 a0 embed [:: L1; L2] (s ++ c) = last_state x0 a0 embed [:: L1; L2] (t ++ c).
Proof.
have sizes : size (s ++ c) = (n.+1 + size c)%N by rewrite size_cat size_s.
apply: (@matched_positions _ _ (m ++ iota n.+1 (size c))).
- by rewrite sizes.
- by rewrite sizes size_cat size_t.
- by rewrite sizes iotaD add0n perm_cat.
- rewrite sizes; case: (size c) => [|l].
    by have := inside (ltnSn n); rewrite match_last addn0.
  by rewrite addnS /=; apply: beyond; rewrite leq_addr.
- move=> k; rewrite sizes nth_cat size_m; case: (ltnP k n.+1) => [lt _|le lt]; first exact: inside.
  by rewrite nth_iota ?subnKC //; [exact: beyond | rewrite ltn_subLR].
Qed.

End Words.

(** ** The two words *)
Fixpoint letters (w : string) : seq bool :=
  match w with EmptyString => [::] | String c rest => (Ascii.eqb c "1"%char) :: letters rest end.

Definition first_word : seq bool := letters
  "1110010011111110000011110111110000101111110000010111111100000010111111110000000101"%string.
Definition second_word : seq bool := letters
  "1110001110111110000101101111110000011111110000001111111100000001111111110000000011"%string.

(** Which position of the second word a position of the first is matched with. *)
Definition matching : seq nat :=
  [:: 0; 1; 2; 3; 4; 8; 20; 5; 80; 19; 10; 11; 12; 13; 14; 15; 16; 17; 18; 79; 6; 21; 22; 7; 9; 25; 26; 27; 28; 29;
     30; 31; 32; 33; 24; 23; 36; 37; 38; 39; 40; 41; 42; 43; 44; 45; 46; 35; 34; 49; 50; 51; 52; 53; 54; 55; 56; 57;
     58; 59; 60; 61; 48; 47; 64; 65; 66; 67; 68; 69; 70; 71; 72; 73; 74; 75; 76; 77; 78; 63; 62; 81]%N.

Lemma words_match : [&& size first_word == 82, size second_word == 82, perm_eq matching (iota 0 82),
  all (matches first_word second_word matching) (iota 0 82) & (nth 0%N matching 81 == 81) && (count id first_word == count id second_word)]%N.
Proof. by vm_compute. Qed.

Lemma words_differ : first_word != second_word.
Proof. by vm_compute. Qed.

Theorem words_of_82_letters (zero one : Token) (c : seq Token) :
  last_state x0 a0 embed [:: L1; L2] (written zero one first_word ++ c) =
  last_state x0 a0 embed [:: L1; L2] (written zero one second_word ++ c).
Proof.
case/and5P: words_match => /eqP size1 /eqP size2 perm match_ /andP[/eqP match_last /eqP same_ones].
exact: (matched_words zero one c size1 size2 perm match_ match_last same_ones).
Qed.

End TwoBlocks.
