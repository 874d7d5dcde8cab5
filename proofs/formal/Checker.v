(** * A checker of bounds and masks on captured networks, proved right ([proofs.kernel.lemmas], docs/theory.md, "Bounds")

    [check] goes through a network node by node.  Of every node it derives bounds of all entries and which of them a mask
    holds at -oo, or nothing ([Unproved]); what the file claims of the node must follow from that, and is then used.
    [Soundness.claims_hold]: whatever the parameters and the prompt, every claim that was let through is true. *)

From Coq Require Import Reals QArith Qreals Qround NArith ZArith List Bool Lra Lia.
From Sipit Require Import Elementary Intervals Tensors Meaning.
Import ListNotations.
Local Open Scope R_scope.

Record line := Line { limits : bounds; mask : option (table bool) }.
Inductive status := Unproved | Proved (l : line).

(** What is known of a node; of a constant of truth values the values as well. *)
Record cell := Cell { typed : type; state : status; known : option (N -> bool) }.
Definition no_cell := Cell no_type Unproved None.

Definition masked (t : type) (l : line) (k : N) : bool :=
  match mask l with None => false | Some written => entry false written (wrap (size (dims t)) k) end.

Definition kind_ok (k : kind) (x : R) : Prop :=
  match k with Real => True | Whole => exists z, x = IZR z | Truth => x = 0 \/ x = 1 end.

(** What a proved line says. *)
Definition entry_ok (t : type) (l : line) (v : tensor) : Prop := forall k,
  match v k with
  | Some x => within (limits l) x /\ kind_ok (of_kind t) x /\ masked t l k = false
  | None => masked t l k = true
  end.
Definition state_ok (t : type) (s : status) (v : tensor) : Prop := match s with Unproved => True | Proved l => entry_ok t l v end.
Definition cell_ok (c : cell) (v : tensor) : Prop :=
  state_ok (typed c) (state c) v /\ forall f, known c = Some f -> forall k, v k = Some (truth (f k)).

(** ** Masks, written out *)
Definition places (t : type) : list N := range (N.max (size (dims t)) 1).
Definition mask_of (t : type) (f : N -> bool) : option (table bool) :=
  let entries := map f (places t) in if existsb (fun b => b) entries then Some (tabulated entries) else None.

Lemma wrap_place t k : In (wrap (size (dims t)) k) (places t).
Proof. apply in_range; destruct (wrap_cases (size (dims t)) k) as [-> | H]; lia. Qed.

Lemma mask_of_spec t f b k : masked t (Line b (mask_of t f)) k = f (wrap (size (dims t)) k).
Proof.
unfold masked, mask_of; simpl; pose proof (wrap_place t k) as H.
destruct (existsb (fun b => b) (map f (places t))) eqn:E; simpl.
- exact (written_entry f (N.max (size (dims t)) 1) _ (proj1 (in_range _ _) H)).
- destruct (f (wrap _ k)) eqn:F; trivial; exfalso.
  assert (existsb (fun b => b) (map f (places t)) = true); [|congruence].
  apply existsb_exists; exists true; split; [rewrite <- F; now apply in_map | reflexivity].
Qed.

Definition unmasked (l : line) : bool := match mask l with None => true | Some _ => false end.

Lemma unmasked_entry t l v : unmasked l = true -> entry_ok t l v -> forall k,
  exists x, v k = Some x /\ within (limits l) x /\ kind_ok (of_kind t) x.
Proof.
intros U H k; specialize (H k); unfold unmasked, masked in *; destruct (mask l); [discriminate|].
destruct (v k) as [x|]; [exists x; tauto | discriminate].
Qed.

(** A tensor without masks whose entries are as a line without masks says. *)
Lemma plain_ok t b (v : tensor) : (forall k, exists x, v k = Some x /\ within b x /\ kind_ok (of_kind t) x) ->
  entry_ok t (Line b None) v.
Proof. intros H k; destruct (H k) as [x [-> [W K]]]; auto. Qed.

(** ** Types: shape and kind of the result are those that follow *)
Definition same_kind (a b : kind) : bool :=
  match a, b with Real, Real | Whole, Whole | Truth, Truth => true | _, _ => false end.
Definition same_dims (s t : shape) : bool := if list_eq_dec N.eq_dec s t then true else false.
Definition numeric (k : kind) : bool := match k with Truth => false | _ => true end.
Definition is_real (t : type) : bool := same_kind (of_kind t) Real.

Definition unary_kinds (u : unary) (from to : kind) : bool :=
  match u with
  | Neg | Power _ => numeric from && same_kind from to
  | Floor => same_kind from Real && same_kind to Whole
  | WholeQuotient _ | Remainder _ => same_kind from Whole && same_kind to Whole
  | Convert => match from, to with Truth, Whole | Truth, Real | Whole, Real => true | _, _ => false end
  | Opposite => same_kind from Truth && same_kind to Truth
  | _ => same_kind from Real && same_kind to Real
  end.

Definition binary_kinds (b : binary) (x y to : kind) : bool :=
  match b with
  | Add | Subtract | Multiply => numeric x && same_kind x y && same_kind x to
  | Divide | Maximum | Minimum => same_kind x Real && same_kind y Real && same_kind to Real
  | Greater | AtMost | Equal => numeric x && same_kind x y && same_kind to Truth
  | Both | Either => same_kind x Truth && same_kind y Truth && same_kind to Truth
  end.

Definition broadcast_is (s t d : shape) : bool := match broadcast s t with Some b => same_dims b d | None => false end.

Definition fits (o : op) (ts : list type) (to : type) : bool :=
  let d := dims to in
  match o, ts with
  | Tokens _, [] => same_kind (of_kind to) Whole
  | Coordinate _, [] | Given _, [] => is_real to
  | Constant _ _, [] => true
  | Unknown, _ => true
  | Moved m, _ => forallb (fun t => same_kind (of_kind t) (of_kind to)) ts && moved_shape m (map dims ts) d
  | Unary u, [t] => same_dims (dims t) d && unary_kinds u (of_kind t) (of_kind to)
  | Binary b, [t; t'] => broadcast_is (dims t) (dims t') d && binary_kinds b (of_kind t) (of_kind t') (of_kind to)
  | Sum reduced keep, [t] =>
      numeric (of_kind t) && same_kind (of_kind t) (of_kind to) && Nat.eqb (length reduced) (length (dims t)) &&
      same_dims (reduced_shape (dims t) reduced keep) d
  | Mean reduced keep, [t] =>
      is_real t && is_real to && Nat.eqb (length reduced) (length (dims t)) &&
      same_dims (reduced_shape (dims t) reduced keep) d && (0 <? count (dims t) reduced)%N
  | CumulativeSum axis, [t] =>
      numeric (of_kind t) && same_kind (of_kind t) (of_kind to) && same_dims (dims t) d && Nat.ltb axis (length d)
  | Softmax axis, [t] => is_real t && is_real to && same_dims (dims t) d && Nat.ltb axis (length d)
  | LogSumExp axis, [t] =>
      is_real t && is_real to && Nat.ltb axis (length (dims t)) && same_dims (set_nth axis 1%N (dims t)) d
  | LayerNorm axes _, t :: rest =>
      let tail := skipn (length (dims t) - axes) (dims t) in
      is_real t && is_real to && same_dims (dims t) d && Nat.leb 1 axes && Nat.leb axes (length (dims t)) &&
      Nat.leb (length rest) 2 && (0 <? size tail)%N && forallb (fun r => is_real r && same_dims (dims r) tail) rest
  | Largest axis keep, [t] =>
      is_real t && is_real to && Nat.ltb axis (length (dims t)) && (0 <? nth axis (dims t) 0)%N &&
      same_dims (reduced_shape (dims t) (marks (map (fun _ => false) (dims t)) axis) keep) d
  | TopValues axis n, [t] =>
      is_real t && is_real to && Nat.ltb axis (length (dims t)) && (1 <=? n)%N && (n <=? nth axis (dims t) 0)%N &&
      same_dims (set_nth axis n (dims t)) d
  | TopIndices axis n, [t] =>
      is_real t && same_kind (of_kind to) Whole && Nat.ltb axis (length (dims t)) && (1 <=? n)%N &&
      (n <=? nth axis (dims t) 0)%N && same_dims (set_nth axis n (dims t)) d
  | MatMul, [t; t'] =>
      let s := dims t in let s' := dims t' in
      let batch x := firstn (length x - 2) x in
      is_real t && is_real t' && is_real to && Nat.leb 2 (length s) && Nat.leb 2 (length s') &&
      (last s 0 =? nth (length s' - 2) s' 0)%N && Nat.leb 2 (length d) && broadcast_is (batch s) (batch s') (batch d) &&
      (nth (length d - 2) d 0 =? nth (length s - 2) s 0)%N && (last d 0 =? last s' 0)%N
  | Take axis, [t; i] =>
      same_kind (of_kind t) (of_kind to) && same_kind (of_kind i) Whole && Nat.ltb axis (length (dims t)) &&
      same_dims (firstn axis (dims t) ++ dims i ++ skipn (S axis) (dims t)) d
  | Gather axis, [t; i] =>
      same_kind (of_kind t) (of_kind to) && same_kind (of_kind i) Whole && Nat.ltb axis (length (dims t)) &&
      same_dims (dims i) d && Nat.eqb (length (dims t)) (length (dims i)) &&
      forallb (fun p => (fst p <=? snd p)%N) (combine (set_nth axis 0%N (dims i)) (set_nth axis 0%N (dims t)))
  | Scatter axis, [t; i; w] =>
      same_kind (of_kind t) (of_kind to) && same_kind (of_kind w) (of_kind to) && same_kind (of_kind i) Whole &&
      Nat.ltb axis (length (dims t)) && same_dims (dims t) d && same_dims (dims i) (dims w) &&
      Nat.eqb (length (dims t)) (length (dims i)) &&
      forallb (fun p => (fst p <=? snd p)%N) (combine (set_nth axis 0%N (dims i)) (set_nth axis 0%N (dims t)))
  | Select, [c; t; t'] =>
      same_kind (of_kind c) Truth && same_kind (of_kind t) (of_kind to) && same_kind (of_kind t') (of_kind to) &&
      match broadcast (dims c) (dims t) with Some s => broadcast_is s (dims t') d | None => false end
  | _, _ => false
  end.

(** ** What follows of a node *)
Definition unary_limits (u : unary) (k : kind) (b : bounds) : option bounds :=
  match u with
  | Neg => Some (neg b)
  | Exp => Some (exp_bounds b)
  | Expm1 => Some (expm1_bounds b)
  | Log => if above_value 0 b then Some (log_bounds b) else None
  | Log1p => if above_value minus_one b then Some (log1p_bounds b) else None
  | Sqrt => if nonnegative b then Some (sqrt_bounds b) else None
  | Rsqrt => if above_value 0 b then Some positive_line else None
  | Sigmoid => Some unit_open
  | Tanh | Erf => Some (odd_bounds b)
  | Sin | Cos => Some unit_closed
  | Gelu | TanhGelu => Some (gate_bounds (-1 # 5) b)
  | Silu => Some (gate_bounds (-3 # 10) b)
  | Mish => Some (gate_bounds (-1 # 3) b)
  | Softplus beta => if qlt 0 beta then Some positive_line else None
  | Relu => Some (relu_bounds b)
  | Absolute => Some (abs_bounds b)
  | LeakyRelu slope => if Qeq_bool slope 1 then Some b else Some (leaky_bounds slope b)
  | Elu scale => Some (elu_bounds scale b)
  | Clamp lo hi => Some (clamp_bounds lo hi b)
  | Power n => Some (power_bounds n b)
  | Floor => Some (floor_bounds b)
  | WholeQuotient n => Some (quotient_bounds n b)
  | Remainder n => Some (remainder_bounds n)
  | Convert => Some (match k with Truth => Bounds (Some (0%Q, false)) (Some (1%Q, false)) | _ => b end)
  | Opposite => Some everything
  end.

Definition binary_limits (b : binary) (same : bool) (x y : bounds) : option bounds :=
  match b with
  | Add => Some (add x y)
  | Subtract => Some (sub x y)
  | Multiply => Some (if same then power_bounds 2 x else mul x y)
  | Divide => if positive y || negative y then Some (div x y) else None
  | Maximum => Some (max_bounds x y)
  | Minimum => Some (min_bounds x y)
  | _ => Some everything
  end.

Definition proved (b : option bounds) : status := match b with Some b => Proved (Line b None) | None => Unproved end.

Fixpoint all_lines (cs : list cell) : option (list line) :=
  match cs with
  | [] => Some []
  | c :: rest => match state c, all_lines rest with Proved l, Some ls => Some (l :: ls) | _, _ => None end
  end.

Fixpoint hull_of (b : bounds) (ls : list line) : bounds := match ls with [] => b | l :: rest => hull (hull_of b rest) (limits l) end.

Definition entry_kind (k : kind) (q : option Q) : bool :=
  match k, q with
  | Real, _ => true
  | Whole, Some q => Qeq_bool q (inject_Z (Qfloor q))
  | Truth, Some q => Qeq_bool q 0 || Qeq_bool q 1
  | _, None => false
  end.

Fixpoint constant_limits (qs : list (option Q)) : option bounds :=
  match qs with
  | [] => None
  | None :: rest => constant_limits rest
  | Some q :: rest => Some (match constant_limits rest with Some b => hull (exactly q) b | None => exactly q end)
  end.

Definition is_masked (q : option Q) : bool := match q with None => true | Some _ => false end.

Definition wholly_masked (t : type) (l : line) : bool := forallb (masked t l) (places t).

(** Whether every place of the row has an entry that is not masked. *)
Definition rows_have_entries (t : type) (l : line) (axis : nat) : bool :=
  (0 <? nth axis (dims t) 0)%N &&
  match mask l with
  | None => true
  | Some _ => forallb (fun k => existsb (fun p => negb (masked t l p)) (row (dims t) axis k)) (places t)
  end.

Definition in_table (b : bounds) (n : N) : bool := at_least 0 b && at_most (inject_Z (Z.of_N n - 1)) b.

Definition derive (o : op) (to : type) (cs : list cell) (same : bool) : status :=
  let ts := map typed cs in
  let d := dims to in
  match o with
  | Constant default entries =>
      if forallb (entry_kind (of_kind to)) (default :: entries) then
        let written_out := tabulated entries in
        Proved (Line (match constant_limits (default :: entries) with Some b => b | None => everything end)
          (if existsb is_masked (default :: entries)
           then mask_of to (fun k => is_masked (entry default written_out k)) else None))
      else Unproved
  | Tokens n => Proved (Line (Bounds (Some (0%Q, false)) (Some (inject_Z (Zpos n - 1), false))) None)
  | Coordinate _ | Given _ => Proved (Line everything None)
  | _ =>
    match all_lines cs with
    | None => Unproved
    | Some ls =>
      match o, cs, ls with
      | Moved m, _, l :: rest =>
          Proved (Line (hull_of (limits l) rest)
            (if forallb unmasked ls then None
             else mask_of to (fun k => let (i, p) := source m (map dims ts) d k in
               masked (typed (nth i cs (hd no_cell cs))) (nth i ls l) p)))
      | Unary u, [c], [l] =>
          if unmasked l then proved (unary_limits u (of_kind (typed c)) (limits l))
          else match u with Exp => proved (Some (masked_exp_bounds (limits l))) | _ => Unproved end
      | Binary b, [c; c'], [l; l'] =>
          let f k := masked (typed c) l (broadcast_place (dims (typed c)) d k) in
          let f' k := masked (typed c') l' (broadcast_place (dims (typed c')) d k) in
          if unmasked l && unmasked l' then proved (binary_limits b same (limits l) (limits l'))
          else match b with
          | Add => Proved (Line (add (limits l) (limits l')) (mask_of to (fun k => f k || f' k)))
          | Subtract => if unmasked l' then Proved (Line (sub (limits l) (limits l')) (mask_of to f)) else Unproved
          | Maximum =>
              if wholly_masked (typed c') l' then Proved (Line (limits l) (mask_of to f))
              else if wholly_masked (typed c) l then Proved (Line (limits l') (mask_of to f')) else Unproved
          | _ => Unproved
          end
      | Sum reduced _, [c], [l] =>
          if unmasked l then proved (Some (sum_bounds (Z.of_N (count (dims (typed c)) reduced)) (limits l))) else Unproved
      | Mean reduced _, [c], [l] => if unmasked l then proved (Some (limits l)) else Unproved
      | CumulativeSum axis, [c], [l] =>
          if unmasked l && (0 <? nth axis (dims (typed c)) 0)%N
          then proved (Some (partial_sum_bounds (Z.of_N (nth axis (dims (typed c)) 0%N)) (limits l))) else Unproved
      | Softmax axis, [c], [l] =>
          if rows_have_entries (typed c) l axis
          then proved (Some (softmax_bounds (nth axis (dims (typed c)) 0 =? 1)%N (negb (unmasked l)))) else Unproved
      | LogSumExp axis, [c], [l] => if rows_have_entries (typed c) l axis then proved (Some everything) else Unproved
      | LayerNorm _ epsilon, _, _ =>
          if forallb unmasked ls && qlt 0 epsilon then proved (Some everything) else Unproved
      | Largest _ _, [c], [l] | TopValues _ _, [c], [l] => if unmasked l then proved (Some (limits l)) else Unproved
      | TopIndices axis _, [c], [l] =>
          if unmasked l && (0 <? nth axis (dims (typed c)) 0)%N
          then proved (Some (Bounds (Some (0%Q, false)) (Some (inject_Z (Z.of_N (nth axis (dims (typed c)) 0%N) - 1), false))))
          else Unproved
      | MatMul, [c; _], [l; l'] =>
          if unmasked l && unmasked l'
          then proved (Some (sum_bounds (Z.of_N (last (dims (typed c)) 0%N)) (mul (limits l) (limits l')))) else Unproved
      | Take axis, [c; _], [l; i] | Gather axis, [c; _], [l; i] =>
          if unmasked l && unmasked i && in_table (limits i) (nth axis (dims (typed c)) 0%N)
          then proved (Some (limits l)) else Unproved
      | Scatter axis, [c; _; _], [l; i; w] =>
          if unmasked l && unmasked i && unmasked w && in_table (limits i) (nth axis (dims (typed c)) 0%N)
          then proved (Some (hull (limits l) (limits w))) else Unproved
      | Select, [c; x; y], [lc; l; l'] =>
          if unmasked l && unmasked l' then proved (Some (hull (limits l) (limits l')))
          else match known c with
          | None => Unproved
          | Some f => Proved (Line (hull (limits l) (limits l')) (mask_of to (fun k =>
              if f (broadcast_place (dims (typed c)) d k)
              then masked (typed x) l (broadcast_place (dims (typed x)) d k)
              else masked (typed y) l' (broadcast_place (dims (typed y)) d k))))
          end
      | _, _, _ => Unproved
      end
    end
  end.

(** ** What a file claims of a node, and the walk *)
Inductive claim := Nothing | Claimed (b : bounds) (has_mask : bool).

Definition accept (derived : status) (c : claim) : option status :=
  match c, derived with
  | Nothing, _ => Some Unproved
  | Claimed b m, Proved l =>
      if weaker b (limits l) && Bool.eqb m (negb (unmasked l)) then Some (Proved (Line b (mask l))) else None
  | Claimed _ _, Unproved => None
  end.

Definition known_of (n : node) : option (N -> bool) :=
  match operation n with
  | Constant default entries =>
      if same_kind (of_kind (result n)) Truth && forallb (entry_kind Truth) (default :: entries) then
        let written_out := tabulated entries in
        Some (fun k => match entry default written_out (wrap (size (dims (result n))) k) with
                       | Some q => negb (Qeq_bool q 0) | None => false end)
      else None
  | _ => None
  end.

Definition same_arguments (n : node) : bool := match arguments n with [j; k] => Nat.eqb j k | _ => false end.

Inductive refusal := Ill_typed | Does_not_follow (derived : status).

Definition step (n : node) (c : claim) (before : list cell) : cell + refusal :=
  let cs := pick no_cell before n in
  if fits (operation n) (map typed cs) (result n) then
    let derived := derive (operation n) (result n) cs (same_arguments n) in
    match accept derived c with
    | Some s => inl (Cell (result n) s (known_of n))
    | None => inr (Does_not_follow derived)
    end
  else inr Ill_typed.

(** The cells of all nodes, the last one first, or the node at which a claim does not follow. *)
Fixpoint check (g : list (node * claim)) (before : list cell) (index : N) : list cell + (N * refusal) :=
  match g with
  | [] => inl before
  | (n, c) :: rest =>
      match step n c before with
      | inl cell => check rest (cell :: before) (N.succ index)
      | inr why => inr (index, why)
      end
  end.
