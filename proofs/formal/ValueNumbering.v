(** * Value numbering: rows that are computed alike are equal, for every parameter (docs/collisions.md)

    The rows (sub-tensors) of one network, or of several side by side, get numbers: equal ones where the same operation is
    applied to rows of equal numbers, and by two lemmas more: weights that sum to one, over rows of one number, give that row;
    a sum does not depend on the order of its terms.  [equated]: rows of equal numbers are equal, whatever the operations
    compute.  "The same operation" includes the parameters it reads and the places it reads them at. *)

From mathcomp Require Import all_ssreflect ssralg.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

Section Numbering.

(** [Op]: operations; [W]: weights, by name. *)
Variables (Op W : eqType).

(** A row is made of earlier rows; a row with no arguments is an operation by itself (a row of a table, a constant). *)
Inductive row :=
| Apply (f : Op) (args : seq nat)
| Mixture (w : W) (args : seq nat)
| Total (args : seq nat).

(** ** What rows are *)
Section Meaning.

Variables (F : ringType) (V : lmodType F).

(** For one choice of all parameters: what every operation makes of its arguments, and every weight. *)
Variables (meaning : Op -> seq V -> V) (weight : W -> nat -> F).

Definition row_value (values : seq V) (r : row) : V :=
  let at_ j := nth 0 values j in
  match r with
  | Apply f args => meaning f (map at_ args)
  | Mixture w args => \sum_(j < size args) weight w j *: at_ (nth 0%N args j)
  | Total args => \sum_(j <- args) at_ j
  end.

Definition row_values (rows : seq row) : seq V := foldl (fun values r => rcons values (row_value values r)) [::] rows.

(** The weights of every mixture sum to one.  (That is what the kernel checks of a softmax.) *)
Definition sums_to_one (r : row) : Prop :=
  if r is Mixture w args then \sum_(j < size args) weight w j = 1 else True.

(** Arguments are earlier rows. *)
Definition earlier (k : nat) (r : row) : bool :=
  match r with Apply _ args | Mixture _ args | Total args => all (fun j => j < k)%N args end.

End Meaning.

(** ** The algorithm *)
Inductive key := Applied (f : Op) (numbers : seq nat) | Summed (numbers : seq nat).

Definition key_code (k : key) : Op * seq nat + seq nat := match k with Applied f ns => inl (f, ns) | Summed ns => inr ns end.
Definition key_decode (c : Op * seq nat + seq nat) : key := match c with inl (f, ns) => Applied f ns | inr ns => Summed ns end.
Lemma key_codeK : cancel key_code key_decode. Proof. by case. Qed.
Definition key_eqMixin := CanEqMixin key_codeK.
Canonical key_eqType := EqType key key_eqMixin.

(** [next]: the least number that was not given; [table]: which number a key has. *)
Record state := State { numbers : seq nat; next : nat; table : seq (key * nat) }.

Definition fresh (s : state) : state := State (rcons (numbers s) (next s)) (next s).+1 (table s).

Definition keyed (s : state) (k : key) : state :=
  if [seq p <- table s | p.1 == k] is (_, n) :: _ then State (rcons (numbers s) n) (next s) (table s)
  else State (rcons (numbers s) (next s)) (next s).+1 ((k, next s) :: table s).

Definition number_row (s : state) (r : row) : state :=
  let of_ := map (nth 0%N (numbers s)) in
  match r with
  | Apply f args => keyed s (Applied f (of_ args))
  | Total args => keyed s (Summed (sort leq (of_ args)))
  | Mixture _ args =>
      if of_ args is n :: rest then
        if all (eq_op n) rest then State (rcons (numbers s) n) (next s) (table s) else fresh s
      else fresh s
  end.

Definition numbered (rows : seq row) : seq nat := numbers (foldl number_row (State [::] 0 [::]) rows).

(** ** Rows of equal numbers are equal *)
Section Soundness.

Variables (F : ringType) (V : lmodType F) (meaning : Op -> seq V -> V) (weight : W -> nat -> F).

Definition key_value (row_of : nat -> V) (k : key) : V :=
  match k with Applied f ns => meaning f (map row_of ns) | Summed ns => \sum_(n <- ns) row_of n end.

Definition known (k : key) (bound : nat) : bool :=
  match k with Applied _ ns | Summed ns => all (fun n => n < bound)%N ns end.

(** [row_of n] is the row that all rows of number [n] are. *)
Definition right (values : seq V) (s : state) (row_of : nat -> V) : Prop :=
  [/\ size (numbers s) = size values,
      forall i, (i < size values)%N -> (nth 0%N (numbers s) i < next s)%N /\ nth 0 values i = row_of (nth 0%N (numbers s) i) &
      forall p, p \in table s -> [/\ known p.1 (next s), (p.2 < next s)%N & key_value row_of p.1 = row_of p.2]].

Lemma same_below (row_of row_of' : nat -> V) k bound : known k bound -> (forall n, (n < bound)%N -> row_of' n = row_of n) ->
  key_value row_of' k = key_value row_of k.
Proof.
case: k => [f ns|ns] /= /allP below same; last by apply: eq_big_seq => n /below; exact: same.
by congr (meaning f _); apply/eq_in_map => n /below; exact: same.
Qed.

Definition extended (row_of : nat -> V) (n : nat) (v : V) (m : nat) : V := if m == n then v else row_of m.

(** A row gets the next number, and [more] is what enters the table. *)
Lemma right_fresh values s row_of v more : right values s row_of ->
  (forall p, p \in more -> [/\ known p.1 (next s), p.2 = next s & key_value row_of p.1 = v]) ->
  right (rcons values v) (State (rcons (numbers s) (next s)) (next s).+1 (more ++ table s)) (extended row_of (next s) v).
Proof.
move=> [size_n rows tab] new; set row_of' := extended row_of (next s) v.
have below n : (n < next s)%N -> row_of' n = row_of n by rewrite /row_of' /extended => lt; rewrite ltn_eqF.
have at_next : row_of' (next s) = v by rewrite /row_of' /extended eqxx.
have wider k : known k (next s) -> known k (next s).+1.
  by case: k => [f ns|ns] /= /allP lt; apply/allP => n /lt /ltnW.
split; first by rewrite !size_rcons size_n.
- move=> i; rewrite size_rcons ltnS leq_eqVlt !nth_rcons size_n => /orP[/eqP->|lt].
    by rewrite ltnn eqxx /= ltnS leqnn at_next.
  by rewrite lt; have [lt' ->] := rows i lt; rewrite below // ltnS ltnW.
- move=> p; rewrite mem_cat => /orP[/new [k0 -> k1]|/tab [k0 lt k1]].
    by rewrite (same_below k0 below) k1 at_next /= ltnS leqnn wider.
  by rewrite (same_below k0 below) k1 below //= wider // ltnS ltnW.
Qed.

Lemma right_known values s row_of v n : right values s row_of -> (n < next s)%N -> row_of n = v ->
  right (rcons values v) (State (rcons (numbers s) n) (next s) (table s)) row_of.
Proof.
move=> [size_n rows tab] lt_n eq_v; split=> //; first by rewrite !size_rcons size_n.
move=> i; rewrite size_rcons ltnS leq_eqVlt !nth_rcons size_n => /orP[/eqP->|lt].
  by rewrite ltnn eqxx /= eq_v.
by rewrite lt; exact: rows.
Qed.

Lemma right_keyed values s row_of v k : right values s row_of -> known k (next s) -> key_value row_of k = v ->
  exists row_of', right (rcons values v) (keyed s k) row_of'.
Proof.
move=> ok k0 k1; rewrite /keyed; case E: [seq p <- table s | p.1 == k] => [|[k' n] rest].
  exists (extended row_of (next s) v); rewrite -[(k, next s) :: table s]/([:: (k, next s)] ++ table s).
  by apply: right_fresh => // p; rewrite inE => /eqP->.
have: (k', n) \in [seq p <- table s | p.1 == k] by rewrite E mem_head.
rewrite mem_filter /= => /andP[/eqP eq_k inn]; have [_ _ tab] := ok; have [_ lt eq_v] := tab _ inn.
by exists row_of; apply: right_known => //; rewrite -eq_v /= eq_k.
Qed.

Lemma right_row values s row_of r : right values s row_of -> earlier (size values) r -> sums_to_one weight r ->
  exists row_of', right (rcons values (row_value meaning weight values r)) (number_row s r) row_of'.
Proof.
move=> ok; have [size_n rows tab] := ok.
have arg args : all (fun j => j < size values)%N args ->
    all (fun n => n < next s)%N (map (nth 0%N (numbers s)) args) /\
    map (nth 0 values) args = map row_of (map (nth 0%N (numbers s)) args).
  move=> /allP lt; split; first by apply/allP => n /mapP[j /lt /rows [? _] ->].
  by rewrite -map_comp; apply/eq_in_map => j /lt /rows [_ ->].
case: r => [f args|w args|args] /= early one; have [below eq_args] := arg args early.
- by apply: right_keyed ok _ _; rewrite //= eq_args.
- case E: (map _ args) => [|n rest].
    have -> : args = [::] by case: args E {early one below eq_args}.
    exists (extended row_of (next s) (row_value meaning weight values (Mixture w [::]))).
    by apply: (@right_fresh _ _ _ _ [::] ok).
  case: ifP => [same | _]; last first.
    exists (extended row_of (next s) (row_value meaning weight values (Mixture w args))).
    by apply: (@right_fresh _ _ _ _ [::] ok).
  exists row_of; apply: right_known => //; first by move: below; rewrite E /= => /andP[].
  rewrite (eq_bigr (fun j : 'I_(size args) => weight w j *: row_of n)) => [|j _]; first by rewrite -scaler_suml one scale1r.
  congr (_ *: _); have eq_n : all (eq_op n) (map (nth 0%N (numbers s)) args) by rewrite E /= eqxx.
  have := nth_map 0%N 0%N (nth 0%N (numbers s)) (ltn_ord j); have lt_j := ltn_ord j.
  move/allP: early => /(_ _ (mem_nth 0%N lt_j)) /rows [_ ->] eq_nth.
  by congr row_of; rewrite -eq_nth; apply/esym/eqP/(allP eq_n); rewrite mem_nth // size_map.
- apply: right_keyed ok _ _ => /=; first by apply/allP => n; rewrite mem_sort => /(allP below).
  rewrite (perm_big _ (permEl (perm_sort _ _))) /= big_map.
  by apply: eq_big_seq => j /(allP early) /rows [_ ->].
Qed.

(** Whatever the operations compute and whatever the weights are, as long as those of every mixture sum to one: rows of
    equal numbers are equal. *)
Theorem equated (rows : seq row) :
  (forall i, (i < size rows)%N -> earlier i (nth (Total [::]) rows i) /\ sums_to_one weight (nth (Total [::]) rows i)) ->
  forall i j, (i < size rows)%N -> (j < size rows)%N -> nth 0%N (numbered rows) i = nth 0%N (numbered rows) j ->
  nth 0 (row_values meaning weight rows) i = nth 0 (row_values meaning weight rows) j.
Proof.
move=> hyps.
suff [row_of [_ all_rows _]] : exists row_of, right (row_values meaning weight rows)
    (foldl number_row (State [::] 0 [::]) rows) row_of.
  have size_v : size (row_values meaning weight rows) = size rows.
    by rewrite /row_values; elim/last_ind: (rows) => // rs r IH; rewrite foldl_rcons !size_rcons IH.
  move=> i j lt_i lt_j eq_n.
  by have [_ ->] := all_rows i (eq_ind_r (fun n => i < n)%N lt_i size_v);
     have [_ ->] := all_rows j (eq_ind_r (fun n => j < n)%N lt_j size_v); rewrite -/(numbered rows) eq_n.
elim/last_ind: rows hyps => [|rows r IH] hyps; first by exists (fun=> 0); split.
have [|row_of ok] := IH.
  by move=> i lt; have := hyps i; rewrite size_rcons ltnS nth_rcons lt; apply; exact: ltnW.
have size_v : size (row_values meaning weight rows) = size rows.
  by rewrite /row_values; elim/last_ind: (rows) => // rs r' IH'; rewrite foldl_rcons !size_rcons IH'.
have := hyps (size rows); rewrite size_rcons nth_rcons ltnn eqxx => /(_ (leqnn _)) [early one].
rewrite -size_v in early; have [row_of' ok'] := right_row ok early one.
by exists row_of'; rewrite /row_values !foldl_rcons.
Qed.

End Soundness.

End Numbering.
